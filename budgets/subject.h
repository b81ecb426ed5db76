// Everything that an audit reads about its target, read once: files, logs, reports, code, artifacts. Checks judge it.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "archive/artifact.h"
#include "budgets/audit.h"
#include "budgets/evidence.h"
#include "budgets/foreign/published_archive.h"
#include "budgets/own_code.h"
#include "budgets/records/record_folder.h"
#include "budgets/script_closure.h"

namespace par5 {

struct AuditedArtifact {
  std::string file;  // within the folder, or the target itself
  std::uint64_t bytes = 0;
  bool is_par5 = false;
  std::optional<ArtifactReport> report;   // of a .par5 file that decodes
  std::optional<ForeignArchive> archive;  // of another archive that can be listed
  std::string error;                      // why it could not be read
  std::uint64_t tokenizer_bytes = 0;      // inside it
  std::string tokenizer_sha256;
  std::vector<std::string> long_texts;  // readable texts of 400 bytes or more in named entries of a .par5 file
};

// A run that par5 made: a run folder, or a sub-folder of a submission that holds one.
struct OwnRun {
  std::string prefix;                           // "seed42/"; empty: the folder itself
  nlohmann::ordered_json facts;                 // run.json
  std::map<std::string, std::string> settings;  // effective configuration, the seed left out
  std::string seed;
  std::optional<Located<double>> train_seconds;  // of the training clock, from metrics.jsonl
  std::string artifact;                          // file name; empty: none
};

struct AuditSubject {
  enum class Kind { artifact, run, submission };
  Kind kind = Kind::artifact;
  AuditRequest request;
  const RuleSet* rules = nullptr;

  RecordFolder folder;  // of a run or submission
  bool own = false;     // par5 made it
  std::vector<OwnRun> runs;
  std::vector<EvidenceReport> evidence;
  std::vector<AuditedArtifact> artifacts;
  ScriptClosure closure;  // of a foreign folder
  std::optional<OwnCode> own_code;
  std::string own_code_missing;  // why it is not known
  SizeLedger sizes;

  const OwnRun* run_at(const std::string& prefix) const;
};

std::string_view kind_name(AuditSubject::Kind kind);

// Reads the target. A target that does not exist is an io error.
Result<AuditSubject> read_subject(const AuditRequest& request, const RuleSet& rules);

// Adds up what counts; the code ledger and the worst of the seeds (size_ledger.cpp).
SizeLedger make_size_ledger(const AuditSubject& subject);

}  // namespace par5
