#include "budgets/run_results.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>

#include "budgets/records/submission_json.h"
#include "core/config.h"
#include "core/file.h"
#include "core/text.h"

namespace par5 {
namespace {

using Json = nlohmann::ordered_json;

std::optional<double> number_at(const Json& object, std::initializer_list<const char*> keys) {
  for (const char* key : keys)
    if (const auto found = object.find(key); found != object.end() && found->is_number()) return found->get<double>();
  return std::nullopt;
}
std::optional<std::int64_t> integer_at(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_number_integer() ? std::optional(found->get<std::int64_t>()) : std::nullopt;
}

std::optional<double> number_from(const std::string& text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(value)) return std::nullopt;
  return value;
}

// One row of `par5 eval`.
std::optional<RunResult> from_row(const Json& row, const std::string& source) {
  const auto bpb = row.is_object() ? number_at(row, {"bpb"}) : std::nullopt;
  if (!bpb) return std::nullopt;
  RunResult result;
  result.source = source;
  result.bpb = *bpb;
  if (const auto mode = row.find("mode"); mode != row.end() && mode->is_string())
    result.mode = mode->get<std::string>();
  result.targets = integer_at(row, "targets");
  result.seed = integer_at(row, "seed");
  const auto bytes = number_at(row, {"bytes"});
  if (bytes && result.targets.value_or(0) > 0) result.bytes_per_token = *bytes / static_cast<double>(*result.targets);
  return result;
}

// A submission's seeds, in whatever spelling; its headline alone where it lists none.
Result<RunResults> from_submission(const std::string& text, const std::string& path) {
  P5_TRY(const SubmissionJson submission, read_submission_json(text, path));
  RunResults results;
  for (const SeedResult& seed : submission.seeds) {
    if (!seed.bpb) continue;
    RunResult run;
    run.source = path;
    run.bpb = seed.bpb->value.value;
    if (const auto number = number_from(seed.seed)) run.seed = static_cast<std::int64_t>(*number);
    if (seed.bytes && seed.tokens && seed.tokens->value > 0)
      run.bytes_per_token = seed.bytes->value / seed.tokens->value;
    results.runs.push_back(std::move(run));
  }
  if (submission.bpb && !results.runs.empty()) results.headline = submission.bpb->value.value;
  if (submission.bpb && results.runs.empty()) {
    RunResult run;
    run.source = path;
    run.bpb = submission.bpb->value.value;
    results.runs.push_back(std::move(run));
  }
  if (results.runs.empty())
    return bad_data(
        "'" + path + "' holds no bpb: neither an eval report (`bpb` or `rows[]`) nor a submission (`val_bpb`)", path,
        std::nullopt, "bpb");
  return results;
}

Result<RunResults> from_json(const std::string& path, const std::string& mode) {
  P5_TRY(const std::string text, read_text_file(path, 1u << 26));
  const Json root = Json::parse(text, nullptr, false);
  if (!root.is_object()) return from_submission(text, path);  // whose reader repairs what people write
  RunResults results;
  if (const auto rows = root.find("rows"); rows != root.end() && rows->is_array()) {
    std::vector<std::string> modes;
    for (const Json& row : *rows) {
      auto result = from_row(row, path);
      if (!result) continue;
      modes.push_back(result->mode);
      if (mode.empty() || mode == result->mode) {
        results.runs.push_back(std::move(*result));
        return results;
      }
    }
    return bad_data("'" + path + "' has no row of mode '" + mode + "'; it has " + join(modes, ", "), path, std::nullopt,
                    "rows");
  }
  if (auto single = root.contains("bpb") ? from_row(root, path) : std::nullopt) {
    results.runs.push_back(std::move(*single));
    return results;
  }
  return from_submission(text, path);
}

// The last validation of metrics.jsonl.
Result<RunResult> from_metrics(const std::string& folder) {
  const std::string path = join_path(folder, "metrics.jsonl");
  P5_TRY(const std::string text, read_text_file(path));
  std::optional<RunResult> last;
  for (const std::string& line : split(text, '\n')) {
    const Json entry = Json::parse(line, nullptr, false);
    const auto bpb = entry.is_object() ? number_at(entry, {"val_bpb"}) : std::nullopt;
    if (!bpb) continue;
    last = RunResult{};
    last->bpb = *bpb;
    last->mode = "chunked";
    last->targets = integer_at(entry, "val_targets");
    const auto bytes = number_at(entry, {"val_bytes"});
    if (bytes && last->targets.value_or(0) > 0) last->bytes_per_token = *bytes / static_cast<double>(*last->targets);
  }
  if (!last)
    return bad_data("the run folder '" + folder +
                        "' has neither eval.json nor a validation in metrics.jsonl; train with --val, or evaluate with "
                        "`par5 eval … --json >" +
                        join_path(folder, "eval.json") + "`",
                    path);
  return *last;
}

Result<RunResults> from_folder(const std::string& folder, const std::string& mode) {
  RunResults results;
  const std::string eval = join_path(folder, "eval.json");
  if (file_exists(eval)) {
    P5_TRY(results, from_json(eval, mode));
  } else {
    P5_TRY(auto last, from_metrics(folder));
    if (!mode.empty() && mode != last.mode)
      return bad_data("the run folder '" + folder + "' has a chunked validation only, not mode '" + mode + "'", folder);
    results.runs.push_back(std::move(last));
  }
  for (RunResult& run : results.runs) run.source = folder;
  const std::string config_path = join_path(folder, "config.toml");
  if (file_exists(config_path)) {
    LoadedConfig config;
    P5_OK(config.apply_file(config_path));
    for (RunResult& run : results.runs) {
      for (const ConfigKey& key : config_keys())
        if (key.name != "train.seed") run.config[key.name] = config.value(key.name);
      if (!run.seed) run.seed = config.values().train.seed;
    }
  }
  return results;
}

}  // namespace

Result<RunResults> read_run_results(const std::string& item, const std::string& mode) {
  if (is_folder(item)) return from_folder(item, mode);
  if (file_exists(item)) return from_json(item, mode);
  if (const auto value = number_from(item)) {
    RunResults results;
    RunResult run;
    run.source = item;
    run.bpb = *value;
    results.runs.push_back(std::move(run));
    return results;
  }
  return usage_error("'" + item + "' is neither a number nor a file or folder that is there");
}

std::vector<std::string> differing_settings(const std::vector<RunResult>& runs) {
  std::map<std::string, std::vector<std::string>> values;
  std::size_t with_config = 0;
  for (const RunResult& run : runs) {
    with_config += !run.config.empty();
    for (const auto& [key, value] : run.config) {
      auto& seen = values[key];
      if (std::find(seen.begin(), seen.end(), value) == seen.end()) seen.push_back(value);
    }
  }
  std::vector<std::string> differing;
  for (const auto& [key, seen] : values)
    if (with_config > 1 && seen.size() > 1) differing.push_back(key + ": " + join(seen, ", "));
  return differing;
}

}  // namespace par5
