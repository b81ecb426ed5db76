// A record folder of the field: README, submission.json, logs, scripts, artifacts, all as they lie there.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "budgets/records/run_log.h"
#include "budgets/records/submission_json.h"
#include "core/error.h"

namespace par5 {

struct FolderFile {
  std::string name;  // relative to the folder, with '/'
  std::uint64_t bytes = 0;
  std::string kind;  // "script", "python", "log", "submission", "readme", "tokenizer", "artifact", "requirements",
                     // "json", "other"
};

struct RecordFolder {
  std::string path;
  std::vector<FolderFile> files;  // sorted by name, sub-folders included
  std::optional<SubmissionJson> submission;
  std::string submission_file;          // its name, also where it could not be read
  std::string submission_error;         // why it could not be read
  std::vector<RunLog> logs;             // run by run, without those of ablations or older runs
  std::vector<std::string> side_logs;   // names of those
  std::vector<std::string> unreadable;  // logs that cannot be read, and why
  std::string readme;                   // text; empty: none
  std::string entry_script;             // name of train_gpt.py, or what stands for it
  std::string requirements;             // text

  std::string file_path(const std::string& name) const;
  const FolderFile* find(const std::string& name) const;
  Result<std::string> read_text(const std::string& name) const;  // at most 64 MiB
};

// Reads a folder. Files that cannot be understood are listed as "other"; more than 10,000 files is resource_limit. A
// path that is no folder is an io error.
Result<RecordFolder> read_record_folder(const std::string& path);

// Files that somebody names one by one, as one record: the first that ends in ".json" is its submission.json, all
// others are logs, whatever they are called. A file that cannot be opened is an io error.
Result<RecordFolder> read_record_files(const std::vector<std::string>& paths);

}  // namespace par5
