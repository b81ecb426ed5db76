// What a run scored, read from whatever holds it: a plain number, the JSON of `par5 eval`, a submission.json, a run
// folder.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/error.h"

namespace par5 {

struct RunResult {
  std::string source;  // the path, or the number as it was given
  double bpb = 0;
  std::optional<double> bytes_per_token;  // charged bytes per target
  std::optional<std::int64_t> seed;
  std::string mode;  // "sliding"; empty where unknown
  std::optional<std::int64_t> targets;
  // The effective configuration of a run folder, by key; the seed is left out.
  std::map<std::string, std::string> config;
};

struct RunResults {
  std::vector<RunResult> runs;
  std::optional<double> headline;  // a submission's val_bpb, where it also lists its seeds
};

// Which row of an eval report or run folder is meant; empty: the first.
// A number is one run. A folder: eval.json if it is there, else the last validation in metrics.jsonl. A JSON file: an
// eval report (`bpb`, or `rows[]`), or a submission.json in any spelling, with its seeds where it lists them. Nothing
// to find is bad_data that says what was looked for.
Result<RunResults> read_run_results(const std::string& item, const std::string& mode = {});

// Keys whose values are not the same in all these runs, each with its values: "train.steps: 100, 200".
std::vector<std::string> differing_settings(const std::vector<RunResult>& runs);

}  // namespace par5
