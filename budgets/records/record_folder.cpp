#include "budgets/records/record_folder.h"

#include <algorithm>
#include <cctype>

#include "budgets/foreign/text_encoding.h"
#include "core/file.h"

namespace par5 {
namespace {

constexpr std::uint64_t kMostTextBytes = std::uint64_t{1} << 26;
constexpr std::size_t kMostFiles = 10'000;

std::string lower(std::string text) {
  for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return text;
}

bool ends_with_any(const std::string& name, std::initializer_list<const char*> endings) {
  return std::any_of(endings.begin(), endings.end(), [&](const char* ending) { return name.ends_with(ending); });
}

Status list(const std::string& folder, const std::string& prefix, int depth, std::vector<FolderFile>& files) {
  P5_TRY(const auto names, list_folder(folder));
  for (const std::string& name : names) {
    const std::string path = join_path(folder, name);
    if (is_folder(path)) {
      if (depth < 8 && name != ".git" && name != "__pycache__")
        P5_OK(list(path, prefix + name + "/", depth + 1, files));
      continue;
    }
    const auto size = file_size(path);
    if (!size) continue;  // a broken link, a socket
    if (files.size() >= kMostFiles)
      return resource_limit("'" + folder + "' holds more than " + std::to_string(kMostFiles) + " files");
    files.push_back({prefix + name, *size, "other"});
  }
  return {};
}

std::string kind_of(const FolderFile& file) {
  const std::string name = lower(file_name(file.name));
  if (name.starts_with("submission") && name.ends_with(".json")) return "submission";
  if (name.starts_with("readme")) return "readme";
  if (name.starts_with("requirements") && name.ends_with(".txt")) return "requirements";
  if (name.ends_with(".py")) return "python";
  if (ends_with_any(name, {".par5", ".ptz", ".pt", ".pth", ".bin", ".br", ".zst", ".xz", ".lzma", ".lrz",
                           ".safetensors", ".npz"}))
    return "artifact";
  if (ends_with_any(name, {".model", ".vocab", "tokenizer.json"})) return "tokenizer";
  if (ends_with_any(name, {".log", ".txt", ".out"})) return "log";
  if (ends_with_any(name, {".json", ".jsonl"})) return "json";
  return "other";
}

// train_gpt.py; else the only script whose name begins with "train"; else the only script in the folder itself.
std::string find_entry(const std::vector<FolderFile>& files) {
  std::vector<std::string> scripts, training;
  for (const FolderFile& file : files) {
    if (file.kind != "python" || file.name.find('/') != std::string::npos) continue;
    if (file.name == "train_gpt.py") return file.name;
    scripts.push_back(file.name);
    if (file.name.starts_with("train")) training.push_back(file.name);
  }
  return !training.empty() ? training.front() : scripts.size() == 1 ? scripts.front() : "";
}

bool is_side_log(const std::string& name) {
  const std::string small = lower(name);
  if (small.find("ablation") != std::string::npos) return true;
  for (const char* word : {"ablation", "old", "archive", "previous", "experiments", "failed", "baseline"})
    if (small.find(word) != std::string::npos && small.find('/') != std::string::npos &&
        small.find(word) < small.rfind('/'))
      return true;
  return false;
}

void read_submission(RecordFolder& folder, const Result<std::string>& text) {
  auto submission =
      text ? read_submission_json(*text, folder.submission_file) : Result<SubmissionJson>(tl::unexpected(text.error()));
  if (submission)
    folder.submission = std::move(*submission);
  else
    folder.submission_error = to_string(submission.error());
}

}  // namespace

std::string RecordFolder::file_path(const std::string& name) const { return join_path(path, name); }

const FolderFile* RecordFolder::find(const std::string& name) const {
  const auto found =
      std::find_if(files.begin(), files.end(), [&](const FolderFile& file) { return file.name == name; });
  return found == files.end() ? nullptr : &*found;
}

Result<std::string> RecordFolder::read_text(const std::string& name) const {
  return read_text_file(file_path(name), kMostTextBytes);
}

Result<RecordFolder> read_record_folder(const std::string& path) {
  RecordFolder folder;
  folder.path = path;
  P5_OK(list(path, "", 0, folder.files));
  std::sort(folder.files.begin(), folder.files.end(),
            [](const FolderFile& a, const FolderFile& b) { return a.name < b.name; });
  for (FolderFile& file : folder.files) file.kind = kind_of(file);
  folder.entry_script = find_entry(folder.files);
  for (FolderFile& file : folder.files) {
    if (file.name == folder.entry_script) file.kind = "script";
    if (file.kind == "submission" && (folder.submission_file.empty() || file.name == "submission.json"))
      folder.submission_file = file.name;
    if (file.kind == "readme" && folder.readme.empty() && file.name.find('/') == std::string::npos)
      folder.readme = to_utf8(folder.read_text(file.name).value_or(""));
    if (file.kind == "requirements" && folder.requirements.empty())
      folder.requirements = to_utf8(folder.read_text(file.name).value_or(""));
    if (file.kind != "log") continue;
    const auto text = folder.read_text(file.name);
    if (!text) folder.unreadable.push_back(to_string(text.error()));
    if (!text || !looks_like_run_log(*text)) {
      file.kind = "other";
      continue;
    }
    if (is_side_log(file.name))
      folder.side_logs.push_back(file.name);
    else
      for (RunLog& run : read_run_logs(*text, file.name)) folder.logs.push_back(std::move(run));
  }
  if (!folder.submission_file.empty()) read_submission(folder, folder.read_text(folder.submission_file));
  return folder;
}

Result<RecordFolder> read_record_files(const std::vector<std::string>& paths) {
  RecordFolder folder;
  for (const std::string& path : paths) {
    P5_TRY(const std::string text, read_text_file(path, kMostTextBytes));
    const bool submission = path.ends_with(".json") && folder.submission_file.empty();
    folder.files.push_back({path, text.size(), submission ? "submission" : "log"});
    if (submission) {
      folder.submission_file = path;
      read_submission(folder, text);
    } else {
      for (RunLog& run : read_run_logs(text, path)) folder.logs.push_back(std::move(run));
    }
  }
  return folder;
}

}  // namespace par5
