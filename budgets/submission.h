// Submission folders: made from run folders and their measured reports only, and derived again from themselves to be
// checked.
//
//   FOLDER/README.md         tables, how to run, the compliance statement; every line of it links to its check and
//   evidence FOLDER/submission.json   the claim FOLDER/audit.json        the audit of this folder FOLDER/code/ the code
//   as counted: par5's sources that evaluation needs FOLDER/seedN/            one a run: model.par5, config.toml,
//   run.json, metrics.jsonl, train.log, reports (eval.json, …)
#pragma once

#include <string>
#include <vector>

#include "budgets/audit.h"
#include "core/error.h"
#include "core/file.h"

namespace par5 {

// What no measurement can say.
struct SubmissionWords {
  std::string name, author, github_id, date, blurb;
  std::string mode;  // of evaluation that is claimed: "sliding"
};

struct SubmissionRequest {
  std::vector<std::string> runs;  // run folders, each with model.par5 and an eval report
  std::string folder;             // to be made
  SubmissionWords words;          // an empty mode: the only one, else "sliding", else the first
  std::string source, program;    // of par5, as in AuditRequest
  std::string version;            // of the par5 that writes
  bool allow_fail = false;
  Overwrite overwrite = Overwrite::no;
  std::size_t threads = 0;
};

// Writes the folder. A run without artifact, metrics or eval report is a usage error; so are two runs of one seed. A
// folder that fails the audit is check_failed and nothing is left behind, unless allow_fail. Returns the audit.
Result<AuditReport> write_submission(const SubmissionRequest& request, const RuleSet& rules);

struct SubmissionCheck {
  AuditReport audit;
  std::vector<std::string> differences;  // "submission.json: val_bpb is 1.1, the reports give 1.2"; empty: all follows
};
// Derives submission.json, README.md, the logs and audit.json again from the artifacts and reports in the folder, by
// the rules that it names unless `rules_name` is given, and compares.
Result<SubmissionCheck> check_submission(const std::string& folder, const std::string& rules_name,
                                         const std::string& program, std::size_t threads);

}  // namespace par5
