#include "report/run_data.h"

#include <cmath>

#include "core/config.h"
#include "core/file.h"
#include "core/text.h"
#include "pack/quantizer.h"
#include "pack/statistics.h"

namespace par5 {
namespace {

using Json = nlohmann::ordered_json;

std::optional<double> number(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_number() ? std::optional(found->get<double>()) : std::nullopt;
}
std::string text_of(const Json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end() || found->is_null()) return {};
  return found->is_string() ? found->get<std::string>() : found->dump();
}

Result<Json> read_json(const std::string& path) {
  P5_TRY(const std::string text, read_text_file(path, 1u << 28));
  Json root = Json::parse(text, nullptr, false);
  if (!root.is_object()) return bad_data("'" + path + "' is not a JSON object", path);
  return root;
}

constexpr const char* kCurves[] = {"loss", "val_bpb", "lr", "tokens_per_second", "zero_share", "predicted_bytes"};

Status read_metrics(const std::string& path, RunData& run) {
  P5_TRY(const std::string text, read_text_file(path));
  for (const std::string& line : split(text, '\n')) {
    const Json entry = Json::parse(line, nullptr, false);
    if (!entry.is_object()) continue;  // the last line of a run that was killed
    const auto step = number(entry, "step");
    if (!step) continue;
    for (const char* curve : kCurves)
      if (const auto value = number(entry, curve)) run.curves[curve].push_back({*step, *value});
    if (const auto seconds = number(entry, "seconds")) run.train_seconds = seconds;
    if (const auto tokens = number(entry, "tokens")) run.tokens = tokens;
  }
  return {};
}

Status read_model(const std::string& path, RunData& run) {
  P5_TRY(auto decoded, read_artifact(path));
  run.artifact = std::move(decoded.report);
  for (const StoredTensor& tensor : decoded.artifact.model.tensors) {
    const auto* quantized = std::get_if<QuantizedTensor>(&tensor.data);
    if (!quantized) continue;
    const Grid grid = quantized->quantizer.grid;
    const LevelStatistics statistics = level_statistics(grid, quantized->codes);
    run.levels.push_back(
        {tensor.spec.name, statistics.histogram, -max_code(grid), grid == Grid::binary ? 2 : 1, statistics.zero_share});
  }
  return {};
}

void read_rows(const Json& report, std::vector<EvalRow>& rows) {
  const auto add = [&](const Json& row, const std::string& name) {
    const auto bpb = row.is_object() ? number(row, "bpb") : std::nullopt;
    if (bpb && std::isfinite(*bpb))
      rows.push_back({name.empty() ? "evaluation" : name, *bpb, number(row, "nats_per_token"),
                      number(row, "mode_seconds"), text_of(row, "against"), number(row, "difference"),
                      number(row, "difference_low"), number(row, "difference_high")});
  };
  for (const char* list : {"rows", "baselines"})
    if (const auto found = report.find(list); found != report.end() && found->is_array())
      for (const Json& row : *found) add(row, text_of(row, row.contains("mode") ? "mode" : "name"));
  if (rows.empty()) add(report, text_of(report, "mode"));
}

void read_audit(const Json& report, RunData& run) {
  run.audit_verdict = text_of(report, "verdict");
  if (const auto cap = number(report, "cap_bytes")) run.cap_bytes = static_cast<std::int64_t>(*cap);
  if (const auto total = number(report, "total_bytes")) run.total_bytes = static_cast<std::int64_t>(*total);
  if (const auto checks = report.find("checks"); checks != report.end() && checks->is_array())
    for (const Json& check : *checks)
      if (check.is_object())
        run.audit.push_back({text_of(check, "id"), text_of(check, "verdict"), text_of(check, "evidence")});
}

RunData named(const std::string& path) {
  RunData run;
  run.path = path;
  std::string_view trimmed = path;
  while (trimmed.size() > 1 && trimmed.back() == '/') trimmed.remove_suffix(1);
  run.name = file_name(trimmed);
  return run;
}

Result<RunData> read_run_folder(const std::string& path) {
  RunData run = named(path);
  const auto in = [&](const char* name) { return join_path(path, name); };
  if (file_exists(in("config.toml"))) {
    LoadedConfig config;
    P5_OK(config.apply_file(in("config.toml")));
    for (const ConfigKey& key : config_keys()) run.config[key.name] = config.value(key.name);
  }
  if (file_exists(in("run.json"))) {
    P5_TRY(run.facts, read_json(in("run.json")));
  }
  if (file_exists(in("metrics.jsonl"))) P5_OK(read_metrics(in("metrics.jsonl"), run));
  if (file_exists(in("model.par5")))
    P5_OK(read_model(in("model.par5"), run));
  else
    run.missing.push_back("no artifact: par5 pack " + in("model.safetensors") + " -o " + in("model.par5"));
  if (file_exists(in("eval.json"))) {
    P5_TRY(const Json report, read_json(in("eval.json")));
    read_rows(report, run.evaluation);
  }
  if (run.evaluation.empty())
    run.missing.push_back("no evaluation: par5 eval " + in("model.par5") + " --data VAL --ladder --json >" +
                          in("eval.json"));
  P5_TRY(const auto names, list_folder(path));
  for (const std::string& name : names)
    if (name.ends_with(".ledger")) {
      P5_TRY(auto strip, read_ledger_strip(in(name.c_str())));
      run.ledgers.push_back(std::move(strip));
    }
  if (file_exists(in("baseline.json"))) {
    P5_TRY(const Json report, read_json(in("baseline.json")));
    read_rows(report, run.baselines);
  }
  if (file_exists(in("audit.json"))) {
    P5_TRY(const Json report, read_json(in("audit.json")));
    read_audit(report, run);
  } else {
    run.missing.push_back("no audit: par5 audit " + in("model.par5") + " --json >" + in("audit.json"));
  }
  return run;
}

bool is_run_folder(const std::string& path) {
  for (const char* name : {"metrics.jsonl", "config.toml", "model.par5", "eval.json"})
    if (file_exists(join_path(path, name))) return true;
  return false;
}

}  // namespace

std::optional<double> RunData::last(const std::string& curve) const {
  const auto found = curves.find(curve);
  return found == curves.end() || found->second.empty() ? std::nullopt : std::optional(found->second.back().y);
}

const EvalRow* RunData::row(const std::string& mode) const {
  for (const EvalRow& one : evaluation)
    if (one.mode == mode) return &one;
  return nullptr;
}

Result<std::vector<RunData>> read_runs(const std::string& path) {
  std::vector<RunData> runs;
  if (is_folder(path)) {
    if (is_run_folder(path)) {
      P5_TRY(auto run, read_run_folder(path));
      runs.push_back(std::move(run));
      return runs;
    }
    P5_TRY(const auto names, list_folder(path));
    for (const std::string& name : names)
      if (const std::string inner = join_path(path, name); is_folder(inner) && is_run_folder(inner)) {
        P5_TRY(auto run, read_run_folder(inner));
        runs.push_back(std::move(run));
      }
    if (runs.empty())
      return bad_data(
          "there is no run in the folder '" + path + "' (no config.toml, metrics.jsonl, model.par5 or eval.json)",
          path);
    return runs;
  }
  RunData run = named(path);
  if (path.ends_with(".json")) {
    P5_TRY(const Json report, read_json(path));
    read_rows(report, run.evaluation);
    read_audit(report, run);
    if (run.evaluation.empty() && run.audit.empty())
      return bad_data("'" + path + "' is neither an eval report nor an audit", path);
  } else if (is_ledger(path)) {
    P5_TRY(auto strip, read_ledger_strip(path));
    run.ledgers.push_back(std::move(strip));
  } else {
    P5_OK(read_model(path, run));
  }
  runs.push_back(std::move(run));
  return runs;
}

}  // namespace par5
