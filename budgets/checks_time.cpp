// T1, T2, E1, S5: how long it took and what it touched meanwhile.
#include <algorithm>

#include "budgets/checks.h"
#include "core/file.h"
#include "core/text.h"

namespace par5 {
namespace {

std::string seconds_text(double seconds) { return fixed(seconds, 3) + " s"; }

struct Timed {
  double seconds = 0;
  Place place;
  std::string what;
};

// The slowest of several runs against a limit.
Finding against(const std::vector<Timed>& times, double limit, double tolerance, const std::string& subject) {
  const Timed& slowest = *std::max_element(times.begin(), times.end(),
                                           [](const Timed& a, const Timed& b) { return a.seconds < b.seconds; });
  std::string evidence = subject + (times.size() > 1 ? ", slowest of " + std::to_string(times.size()) + ": " : ": ") +
                         seconds_text(slowest.seconds) + " of " + seconds_text(limit) + " (" + slowest.what +
                         "), tolerance " + seconds_text(tolerance);
  return slowest.seconds <= limit + tolerance ? passes(evidence, {slowest.place}) : fails(evidence, {slowest.place});
}

std::vector<std::string> opened_files(const EvidenceReport& receipt) {
  std::vector<std::string> files;
  if (!receipt.json.contains("files_opened") || !receipt.json["files_opened"].is_array()) return files;
  for (const auto& file : receipt.json["files_opened"]) {
    if (file.is_string())
      files.push_back(file.get<std::string>());
    else if (file.is_object() && file.contains("path") && file["path"].is_string())
      files.push_back(file["path"].get<std::string>());
  }
  return files;
}

bool has_file_list(const EvidenceReport& receipt) {
  return receipt.json.contains("files_opened") && receipt.json["files_opened"].is_array();
}

// A file of training text: shards and texts whose path has a part that names training.
bool is_training_data(const std::string& path) {
  const bool data = path.ends_with(".bin") || path.ends_with(".xz") || path.ends_with(".zst") ||
                    path.ends_with(".jsonl") || path.ends_with(".txt") || file_name(path) == "manifest.json";
  if (!data) return false;
  for (const std::string& part : split(path, '/'))
    if (part == "train" || part.starts_with("train.") || part.find("_train_") != std::string::npos ||
        part.starts_with("train_"))
      return true;
  return false;
}

// The receipt's word on the network: "off", "unused", "used" or "unknown".
std::string network_of(const EvidenceReport& receipt) {
  const auto network = receipt.json.find("network");
  if (network == receipt.json.end() || !network->is_object() || !network->contains("state") ||
      !(*network)["state"].is_string())
    return "unknown";
  return (*network)["state"].get<std::string>();
}

}  // namespace

Finding check_train_time(const AuditSubject& subject) {
  const RuleSet& rules = *subject.rules;
  if (!rules.train_seconds) return does_not_apply("these rules set no time for training");
  std::vector<Timed> times;
  for (const EvidenceReport* receipt : of_command(subject.evidence, "time", "train"))
    if (const auto seconds = receipt->number("wall_seconds"))
      times.push_back({*seconds, {receipt->file, 0, "wall_seconds"}, "whole process, by receipt"});
  if (times.empty()) {
    for (const OwnRun& run : subject.runs)
      if (run.train_seconds) times.push_back({run.train_seconds->value, run.train_seconds->place, "training clock"});
    for (const RunLog& log : subject.folder.logs)
      if (log.train_seconds && !subject.own)
        times.push_back({log.train_seconds->value, log.train_seconds->place, "training clock of the log"});
  }
  if (times.empty()) {
    const auto& submission = subject.folder.submission;
    if (submission && submission->train_seconds &&
        submission->train_seconds->value > *rules.train_seconds + rules.tolerance_seconds)
      return fails("submission.json says " + seconds_text(submission->train_seconds->value),
                   {submission->train_seconds->place});
    return unknown("no log, receipt or metrics say how long training took");
  }
  Finding finding = against(times, *rules.train_seconds, rules.tolerance_seconds, "training");
  if (!rules.hardware.empty()) finding.evidence += "; the limit is for " + rules.hardware + ", which files cannot show";
  return finding;
}

Finding check_calibration(const AuditSubject& subject) {
  const RuleSet& rules = *subject.rules;
  if (!rules.train_seconds) return does_not_apply("these rules set no time for training");
  if (subject.own) {
    const auto receipts = of_command(subject.evidence, "time", "pack");
    for (const EvidenceReport* receipt : receipts)
      for (const std::string& file : opened_files(*receipt))
        if (is_training_data(file))
          return fails("packing, after training, opened training data: " + file, {{receipt->file, 0, "files_opened"}});
    if (!receipts.empty() && std::all_of(receipts.begin(), receipts.end(),
                                         [](const EvidenceReport* receipt) { return has_file_list(*receipt); }))
      return passes("packing opened no training data", {{receipts.front()->file, 0, "files_opened"}});
    return unknown("no receipt of `par5 time -- par5 pack …` says what packing opened");
  }
  bool calibrates = false;
  for (const RunLog& log : subject.folder.logs) {
    if (!log.calibration) continue;
    calibrates = true;
    if (log.calibration->generated) continue;
    if (!log.calibration->seconds || !log.train_seconds)
      return unknown("calibration is logged without its time", {log.calibration->place});
    const double total = log.train_seconds->value + *log.calibration->seconds;
    if (total > *rules.train_seconds + rules.tolerance_seconds)
      return fails("training " + seconds_text(log.train_seconds->value) + " and calibration " +
                       seconds_text(*log.calibration->seconds) + " take " + seconds_text(total) + " together",
                   {log.calibration->place});
  }
  if (calibrates)
    return passes("calibration is within the training time, or uses text that the model made itself",
                  {subject.folder.logs.front().calibration ? subject.folder.logs.front().calibration->place : Place{}});
  for (const char* word : {"hessian", "calibration", "gptq"})
    if (const std::size_t at = subject.closure.raw_source.find(word); at != std::string::npos)
      return unknown(std::string("the script speaks of ") + word + ", the logs do not say how long it took",
                     {{subject.closure.entry, 0, word}});
  if (subject.folder.logs.empty()) return unknown("there is no log");
  return passes("neither the script nor the logs speak of calibration (a text search)",
                {{subject.closure.entry, 0, {}}});
}

Finding check_eval_time(const AuditSubject& subject) {
  const RuleSet& rules = *subject.rules;
  if (!rules.eval_seconds) return does_not_apply("these rules set no time for evaluation");
  std::vector<Timed> whole, partial;
  for (const EvidenceReport* receipt : of_command(subject.evidence, "time", "eval"))
    if (const auto seconds = receipt->number("wall_seconds"))
      whole.push_back({*seconds, {receipt->file, 0, "wall_seconds"}, "whole process, by receipt"});
  // `par5 eval` prints the seconds of its whole process itself.
  for (const EvidenceReport* report : of_command(subject.evidence, "eval"))
    if (const auto seconds = report->number("seconds"); seconds && whole.empty())
      partial.push_back({*seconds, {report->file, 0, "seconds"}, "by the report of eval itself"});
  for (const RunLog& log : subject.folder.logs) {
    if (log.process_seconds)
      whole.push_back({log.process_seconds->value, log.process_seconds->place, "whole process, by the log"});
    else if (log.eval_seconds)
      partial.push_back({log.eval_seconds->value, log.eval_seconds->place, "timer inside the script"});
  }
  const auto& submission = subject.folder.submission;
  if (submission && submission->eval_seconds)
    partial.push_back({submission->eval_seconds->value, submission->eval_seconds->place, "by submission.json"});
  if (!whole.empty()) return against(whole, *rules.eval_seconds, rules.tolerance_seconds, "evaluation");
  if (partial.empty()) return unknown("nothing says how long evaluation took");
  Finding finding = against(partial, *rules.eval_seconds, rules.tolerance_seconds, "evaluation");
  // A timer inside the process leaves start-up, loading and warm-up out: it can show too much, never enough.
  if (finding.answer == Answer::pass) {
    finding.answer = Answer::unknown;
    finding.evidence +=
        "; a timer inside the process leaves out start-up, loading and warm-up: `par5 time -- …` measures the whole";
  }
  return finding;
}

Finding check_isolation(const AuditSubject& subject) {
  const auto receipts = of_command(subject.evidence, "time", "eval");
  bool complete = !receipts.empty();
  std::vector<Place> places;
  for (const EvidenceReport* receipt : receipts) {
    places.push_back({receipt->file, 0, "files_opened"});
    if (network_of(*receipt) == "used") return fails("evaluation used the network", {{receipt->file, 0, "network"}});
    for (const std::string& file : opened_files(*receipt))
      if (is_training_data(file))
        return fails("evaluation opened training data: " + file, {{receipt->file, 0, "files_opened"}});
    complete =
        complete && has_file_list(*receipt) && (network_of(*receipt) == "off" || network_of(*receipt) == "unused");
  }
  if (complete) return passes("evaluation opened no training data and used no network", places);
  if (!receipts.empty()) return unknown("the receipt does not list opened files and network use", places);
  std::string evidence = "no receipt of the evaluation lists what it opened (`par5 time -- …`)";
  for (const auto& found : subject.closure.network) {
    evidence += "; the script mentions " + found.value;
    places.push_back(found.place);
  }
  return unknown(evidence, places);
}

}  // namespace par5
