// The derived files of a submission folder, as functions of what was measured.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "budgets/subject.h"
#include "budgets/submission.h"

namespace par5 {

// One run's measured result.
struct MeasuredRun {
  std::string prefix;  // "seed42/"
  std::string seed;
  std::string mode;
  double bpb = 0, nats_per_token = 0, eval_seconds = 0, train_seconds = 0;
  std::int64_t targets = 0, bytes = 0, documents = 0, dropped_targets = 0, steps = 0, tokens = 0;
  std::uint64_t artifact_bytes = 0;
  std::string artifact_sha256;
  Place place;  // of the score
};

// The results of a folder's runs in the mode asked for (empty: the only one, else "sliding", else the first). A run
// whose reports hold no such row is bad_data.
Result<std::vector<MeasuredRun>> measured_runs(const AuditSubject& subject, const std::string& mode);

// metrics.jsonl and the eval report as a log that tools of the field read.
std::string log_text(const std::string& metrics, const MeasuredRun& run);

nlohmann::ordered_json submission_json(const std::vector<MeasuredRun>& runs, const SizeLedger& sizes,
                                       const RuleSet& rules, const SubmissionWords& words, const std::string& version);
std::string readme_text(const std::vector<MeasuredRun>& runs, const AuditReport& audit, const RuleSet& rules,
                        const SubmissionWords& words, const std::string& version);

}  // namespace par5
