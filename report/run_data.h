// What is known of a run, gathered from its folder: nothing is computed anew but what the artifact itself holds.
#pragma once

#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "archive/artifact.h"
#include "budgets/run_results.h"
#include "core/error.h"
#include "report/ledger_strip.h"
#include "report/series.h"

namespace par5 {

struct LevelHistogram {
  std::string tensor;
  std::vector<std::uint64_t> counts;  // from the lowest code to the highest
  int lowest_code = 0;
  int step = 1;  // 2 for binary, which has no 0
  double zero_share = 0;
};

struct EvalRow {
  std::string mode;
  double bpb = 0;
  std::optional<double> nats_per_token;
  std::optional<double> seconds;
  std::string against = {};  // the mode that the difference is to; empty: none
  // Paired by document, with its 95 % interval.
  std::optional<double> difference = {}, low = {}, high = {};
};

struct AuditRow {
  std::string id, verdict, evidence;
};

struct RunData {
  std::string name;  // last part of the path
  std::string path;
  std::map<std::string, std::string> config;
  nlohmann::ordered_json facts;                            // run.json
  std::map<std::string, std::vector<SeriesPoint>> curves;  // "loss", "val_bpb", "lr", "zero_share", … by step
  std::optional<double> train_seconds, tokens;
  std::optional<ArtifactReport> artifact;
  std::vector<LevelHistogram> levels;
  std::vector<EvalRow> evaluation;
  std::vector<EvalRow> baselines;
  std::vector<LedgerStrip> ledgers;  // *.ledger in the folder, by name
  std::vector<AuditRow> audit;
  std::string audit_verdict;
  std::optional<std::int64_t> cap_bytes, total_bytes;
  std::vector<std::string> missing;  // what the folder does not hold, and the command that makes it

  std::optional<double> last(const std::string& curve) const;
  const EvalRow* row(const std::string& mode) const;
};

// A run folder, an artifact, a score ledger or an eval or audit report; a folder of run folders gives each of them, by
// name. bad_data where there is nothing to report on.
Result<std::vector<RunData>> read_runs(const std::string& path);

}  // namespace par5
