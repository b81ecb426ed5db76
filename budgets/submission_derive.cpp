#include "budgets/submission_derive.h"

#include <algorithm>
#include <cmath>

#include "core/hash.h"
#include "core/text.h"

namespace par5 {
namespace {

using Json = nlohmann::ordered_json;

struct MeanAndSpread {
  double mean = 0, std = 0;  // n - 1 in the denominator; 0 for a single value
};
template <class Value>
MeanAndSpread spread(const std::vector<MeasuredRun>& runs, Value value) {
  MeanAndSpread result;
  for (const MeasuredRun& run : runs) result.mean += value(run) / static_cast<double>(runs.size());
  double squares = 0;
  for (const MeasuredRun& run : runs) squares += (value(run) - result.mean) * (value(run) - result.mean);
  if (runs.size() > 1) result.std = std::sqrt(squares / static_cast<double>(runs.size() - 1));
  return result;
}
MeanAndSpread bpb_spread(const std::vector<MeasuredRun>& runs) {
  return spread(runs, [](const MeasuredRun& run) { return run.bpb; });
}

// The rows of the eval reports of one run, each with its file and the seconds of its process.
struct Row {
  Json json;
  std::string file;
};
std::vector<Row> eval_rows(const AuditSubject& subject, const std::string& prefix) {
  std::vector<Row> rows;
  for (const EvidenceReport* report : of_command(subject.evidence, "eval")) {
    if (!report->file.starts_with(prefix)) continue;
    if (report->json.contains("rows") && report->json["rows"].is_array())
      for (const Json& row : report->json["rows"]) rows.push_back({row, report->file});
    else
      rows.push_back({report->json, report->file});
  }
  std::erase_if(rows, [](const Row& row) {
    return !row.json.is_object() || !row.json.contains("mode") || !row.json["mode"].is_string() ||
           !row.json.contains("bpb") || !row.json["bpb"].is_number();
  });
  return rows;
}

const Row* row_of(const std::vector<Row>& rows, const std::string& mode) {
  const auto find = [&](const std::string& name) -> const Row* {
    const auto found = std::find_if(rows.begin(), rows.end(), [&](const Row& row) { return row.json["mode"] == name; });
    return found == rows.end() ? nullptr : &*found;
  };
  if (!mode.empty()) return find(mode);
  if (rows.size() == 1) return &rows.front();
  const Row* sliding = find("sliding");
  return sliding ? sliding : rows.empty() ? nullptr : &rows.front();
}

void last_metrics(const std::string& metrics, MeasuredRun& run) {
  for (const std::string& line : split(metrics, '\n')) {
    const Json entry = Json::parse(line, nullptr, false);
    if (!entry.is_object() || !entry.contains("seconds")) continue;
    run.steps = entry.value("step", run.steps);
    run.tokens = entry.value("tokens", run.tokens);
    run.train_seconds = entry.value("seconds", run.train_seconds);
  }
}

std::string count(std::int64_t value) { return grouped(value); }
std::string count(std::uint64_t value) { return grouped(static_cast<std::int64_t>(value)); }

std::string link(const std::string& file) { return "[" + file + "](" + file + ")"; }

// One line of the compliance statement.
std::string statement_line(const RuleCheck& check) {
  std::string line = "| " + check.id + " | " + check.title + " | " + std::string(answer_name(check.answer)) + " | ";
  std::string evidence = check.evidence;
  std::replace(evidence.begin(), evidence.end(), '|', '/');
  line += evidence + " | " + link("audit.json");
  std::vector<std::string> shown;
  for (const Place& place : check.places) {
    const bool inside = !place.file.empty() && place.file[0] != '/' && place.file.find('+') == std::string::npos;
    if (!inside || std::find(shown.begin(), shown.end(), place.file) != shown.end()) continue;
    shown.push_back(place.file);
    line += ", " + link(place.file);
  }
  return line + " |\n";
}

}  // namespace

Result<std::vector<MeasuredRun>> measured_runs(const AuditSubject& subject, const std::string& mode) {
  std::vector<MeasuredRun> runs;
  for (const OwnRun& own : subject.runs) {
    const std::vector<Row> rows = eval_rows(subject, own.prefix);
    const Row* row = row_of(rows, mode);
    const std::string where = own.prefix.empty() ? subject.request.target : own.prefix;
    if (!row)
      return bad_data("'" + where + "' has no eval report" + (mode.empty() ? "" : " of the mode '" + mode + "'") +
                          ": only measured results are submitted (`par5 eval … --json >eval.json` in the run folder)",
                      where);
    MeasuredRun run;
    run.prefix = own.prefix;
    run.seed = own.seed;
    run.mode = row->json["mode"].get<std::string>();
    run.bpb = row->json["bpb"].get<double>();
    run.nats_per_token = row->json.value("nats_per_token", 0.0);
    run.targets = row->json.value("targets", std::int64_t{0});
    run.bytes = row->json.value("bytes", std::int64_t{0});
    run.documents = row->json.value("documents", std::int64_t{0});
    run.dropped_targets = row->json.value("dropped_targets", std::int64_t{0});
    run.eval_seconds = row->json.value("mode_seconds", 0.0);
    run.place = {row->file, 0, "bpb"};
    if (own.artifact.empty())
      return bad_data("'" + where + "' has no packed artifact; run `par5 pack … -o model.par5` in the run folder",
                      where);
    P5_TRY(run.artifact_bytes, file_size(subject.folder.file_path(own.artifact)));
    P5_TRY(run.artifact_sha256, sha256_hex_of_file(subject.folder.file_path(own.artifact)));
    P5_TRY(const std::string metrics, subject.folder.read_text(own.prefix + "metrics.jsonl"));
    last_metrics(metrics, run);
    runs.push_back(std::move(run));
  }
  if (runs.empty()) return bad_data("'" + subject.request.target + "' holds no run of par5", subject.request.target);
  for (const MeasuredRun& run : runs)
    if (run.mode != runs[0].mode)
      return bad_data("the runs were evaluated in different modes, " + runs[0].mode + " and " + run.mode +
                      "; name one with --mode");
  return runs;
}

std::string log_text(const std::string& metrics, const MeasuredRun& run) {
  std::string text = "seed:" + run.seed + "\n";
  for (const std::string& line : split(metrics, '\n')) {
    const Json entry = Json::parse(line, nullptr, false);
    if (!entry.is_object() || !entry.contains("step")) continue;
    const std::string step = "step:" + entry["step"].dump() + "/" + std::to_string(run.steps);
    if (entry.contains("loss") && entry.contains("seconds"))
      text += step + " train_loss:" + fixed(entry["loss"].get<double>(), 6) +
              " train_time:" + std::to_string(std::llround(entry["seconds"].get<double>() * 1e3)) + "ms\n";
    if (entry.contains("val_bpb")) text += step + " val_bpb:" + fixed(entry["val_bpb"].get<double>(), 8) + "\n";
  }
  text += "Serialized model par5: " + std::to_string(run.artifact_bytes) + " bytes\n";
  return text + "final_" + run.mode + " val_loss:" + fixed(run.nats_per_token, 8) + " val_bpb:" + fixed(run.bpb, 8) +
         " eval_tokens:" + std::to_string(run.targets) + " eval_bytes:" + std::to_string(run.bytes) +
         " eval_time:" + std::to_string(std::llround(run.eval_seconds * 1e3)) + "ms\n";
}

Json submission_json(const std::vector<MeasuredRun>& runs, const SizeLedger& sizes, const RuleSet& rules,
                     const SubmissionWords& words, const std::string& version) {
  const MeanAndSpread bpb = bpb_spread(runs);
  std::uint64_t code = 0, artifact = 0;
  for (const CountingWay& way : sizes.ways)
    if (way.decides) code = way.code_bytes;
  for (const MeasuredRun& run : runs) artifact = std::max(artifact, run.artifact_bytes);
  Json json = {{"schema", 1},
               {"tool", "par5 " + version},
               {"name", words.name},
               {"author", words.author},
               {"github_id", words.github_id},
               {"date", words.date},
               {"blurb", words.blurb},
               {"track", rules.name},
               {"mode", runs[0].mode},
               {"val_bpb", bpb.mean},
               {"val_bpb_std", bpb.std},
               {"val_loss", spread(runs, [](const MeasuredRun& run) { return run.nats_per_token; }).mean},
               {"bytes_total", sizes.total_bytes},
               {"bytes_code", code},
               {"artifact_bytes", artifact},
               {"cap_bytes", sizes.cap_bytes}};
  for (const MeasuredRun& run : runs)
    json["seed_results"][run.seed] = {{"val_bpb", run.bpb},
                                      {"val_loss", run.nats_per_token},
                                      {"eval_tokens", run.targets},
                                      {"eval_bytes", run.bytes},
                                      {"eval_documents", run.documents},
                                      {"dropped_tokens", run.dropped_targets},
                                      {"model_bytes", run.artifact_bytes},
                                      {"model_sha256", run.artifact_sha256},
                                      {"steps", run.steps},
                                      {"train_tokens", run.tokens},
                                      {"train_seconds", run.train_seconds},
                                      {"eval_seconds", run.eval_seconds}};
  return json;
}

std::string readme_text(const std::vector<MeasuredRun>& runs, const AuditReport& audit, const RuleSet& rules,
                        const SubmissionWords& words, const std::string& version) {
  const MeanAndSpread bpb = bpb_spread(runs);
  const SizeLedger& sizes = audit.sizes;
  std::string text = "# " + words.name + "\n\n" + (words.blurb.empty() ? "" : words.blurb + "\n\n");
  text += "**" + fixed(bpb.mean, 8) + " bits per byte**, mode " + runs[0].mode + ", " +
          (runs.size() > 1 ? "mean of " + std::to_string(runs.size()) + " seeds (sample standard deviation " +
                                 fixed(bpb.std, 8) + ")"
                           : std::string("one seed")) +
          ". " + count(sizes.total_bytes) + " bytes of " + count(sizes.cap_bytes) + " (" + rules.title +
          "). Made by par5 " + version +
          " from measured reports; every number below is derived again by `par5 submit --check`.\n\n";
  text +=
      "## Results\n\n| seed | bpb | nats per token | targets | bytes | dropped | steps | training, s | artifact, bytes "
      "| report |\n|---|---|---|---|---|---|---|---|---|---|\n";
  for (const MeasuredRun& run : runs)
    text += "| " + run.seed + " | " + fixed(run.bpb, 8) + " | " + fixed(run.nats_per_token, 8) + " | " +
            count(run.targets) + " | " + count(run.bytes) + " | " + count(run.dropped_targets) + " | " +
            count(run.steps) + " | " + fixed(run.train_seconds, 1) + " | " + count(run.artifact_bytes) + " | " +
            link(run.place.file) + " |\n";
  text += "\n## Sizes\n\n| what | bytes | counted |\n|---|---|---|\n";
  for (const LedgerLine& line : sizes.lines)
    if (line.counted_bytes > 0 || !line.note.empty())
      text += "| " + line.what + " | " + count(line.raw_bytes) + " | " + count(line.counted_bytes) +
              (line.note.empty() ? "" : " (" + line.note + ")") + " |\n";
  text += "| **total of the worst seed** | | **" + count(sizes.total_bytes) + "** |\n";
  for (const CountingWay& way : sizes.ways)
    text += "| with code counted " + way.name + (way.decides ? ", which decides" : "") + " | " + count(way.code_bytes) +
            " | " + count(way.total_bytes) + " |\n";
  text += "\n## How to run\n\n```sh\npar5 submit --check .                     # derives everything here again\n";
  for (const MeasuredRun& run : runs)
    text += "par5 verify " + run.prefix + "model.par5\npar5 eval " + run.prefix +
            "model.par5 --data VALIDATION_TEXT --mode " + run.mode + "\n";
  text +=
      "```\n\n`code/` holds the sources that evaluation needs, as they are counted; the whole project builds them.\n\n";
  text +=
      "## Compliance\n\nEach line is the answer of a program to a rule, with the files that it was read from. *manual* "
      "is for a person to judge.\n\n| rule | text | answer | evidence | files |\n|---|---|---|---|---|\n";
  for (const RuleCheck& check : audit.checks)
    if (check.answer != Answer::not_applicable) text += statement_line(check);
  return text + "\nVerdict of all: **" + std::string(verdict_name(audit.verdict)) + "**.\n";
}

}  // namespace par5
