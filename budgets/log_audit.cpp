#include "budgets/log_audit.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <set>

#include "budgets/claims.h"
#include "core/file.h"
#include "core/text.h"

namespace par5 {
namespace {

constexpr double kHeadlineTolerance = 2e-4;  // bpb
constexpr double kWholeShare = 0.99;         // of the targets or bytes: the dropped tail is far less

std::string count(double value) { return grouped(std::llround(value)); }
std::string percent(double share) { return fixed(100 * share, 1) + " %"; }

std::optional<Denominator> denominator_of(const std::optional<PrintedNumber>& loss,
                                          const std::optional<PrintedNumber>& bpb) {
  const auto usable = [](const std::optional<PrintedNumber>& number) {
    return number && number->value > 0 && number->value < 50 && number->digits >= 0 && number->digits <= 30;
  };
  if (!usable(loss) || !usable(bpb)) return std::nullopt;
  return back_solve(*loss, *bpb);
}

// "final_int8 seed 42 " and "final_int8 seed 7 " are one kind of evaluation.
std::string kind_of(const std::string& label) {
  std::string kind;
  for (const char c : label)
    if (!(c >= '0' && c <= '9')) kind += c;
  return kind;
}

// One record: a folder, or files that were named.
class RecordAudit {
 public:
  RecordAudit(const RecordFolder& record, const RuleSet& rules, const Registry& registry, LogAudit& audit)
      : record_(record), rules_(rules), registry_(registry), audit_(audit) {}

  void run() {
    files();
    results();
    for (const LogScore& score : scores_) denominator(score);
    for (const RunLog& log : record_.logs) mixed(log);
    coverage();
    sizes();
    seeds();
    times();
    configurations();
    audit_.scores.insert(audit_.scores.end(), scores_.begin(), scores_.end());
  }

 private:
  void find(const char* id, Severity severity, Place where, std::string evidence) {
    audit_.findings.push_back({id, severity, std::move(where), std::move(evidence)});
  }
  void note(Place where, std::string text) { audit_.notes.push_back({std::move(where), std::move(text)}); }
  static Place at(const RunLog& log, const LogEvaluation& evaluation) { return {log.file, evaluation.line, {}}; }

  void files() {
    const auto& submission = record_.submission;
    if (!record_.submission_error.empty())
      find("unparsable_json", Severity::error, {record_.submission_file, 0, {}}, record_.submission_error);
    else if (submission && !submission->strict)
      find("unparsable_json", Severity::warning, {record_.submission_file, 0, {}},
           "no JSON as it stands: comments, trailing commas or Python's words had to be repaired; it is read all the "
           "same");
    for (const std::string& why : record_.unreadable) note({}, why);
    for (const std::string& name : record_.side_logs)
      note({name, 0, {}}, "left out: a log of an ablation or of an older run");
  }

  // The results of the runs, of the logs where they have any, else of submission.json.
  void results() {
    std::set<std::string> without;
    for (const RunLog& log : record_.logs) {
      const LogEvaluation* final = log.final_evaluation();
      if (!final) {
        without.insert(log.file);
        continue;
      }
      // A last line that leaves the loss out: the pair is that of the last one that has it.
      const auto paired = std::find_if(log.evaluations.rbegin(), log.evaluations.rend(),
                                       [](const LogEvaluation& e) { return !e.running && !e.aside && e.loss; });
      const LogEvaluation& pair = final->loss || paired == log.evaluations.rend() ? *final : *paired;
      LogScore score{log.seed ? log.seed->value : "",     at(log, pair), final->bpb,  pair.loss,
                     denominator_of(pair.loss, pair.bpb), final->tokens, final->bytes};
      if (!score.targets && log.val_tokens) score.targets = log.val_tokens->value;
      for (const LogEvaluation& e : log.evaluations)
        if (!score.bytes && e.bytes && (!score.targets || e.tokens == score.targets)) score.bytes = e.bytes;
      scores_.push_back(std::move(score));
    }
    for (const LogScore& score : scores_) without.erase(score.where.file);
    const auto& submission = record_.submission;
    if (submission && !submission->bpb && submission->seeds.empty())
      find("no_val_bpb", Severity::error, {record_.submission_file, 0, {}},
           "no number stands under val_bpb or any of its known spellings");
    else if (!submission && record_.submission_error.empty() && scores_.empty())
      find("no_val_bpb", Severity::error, {without.empty() ? record_.path : *without.begin(), 0, {}},
           "no line gives a val_bpb");
    for (const std::string& file : without) note({file, 0, {}}, "no line of it gives a val_bpb");
    if (!submission || std::any_of(scores_.begin(), scores_.end(),
                                   [](const LogScore& score) { return score.denominator.has_value(); }))
      return;
    const auto integer = [](const std::optional<Located<double>>& number) {
      return number ? std::optional(std::llround(std::min(number->value, 9e15))) : std::nullopt;
    };
    const auto add = [&](const std::string& seed, const auto& bpb, const auto& loss, const auto& targets,
                         const auto& bytes) {
      if (!bpb) return;
      const auto nats = loss ? std::optional(loss->value) : std::nullopt;
      scores_.push_back(
          {seed, bpb->place, bpb->value, nats, denominator_of(nats, bpb->value), integer(targets), integer(bytes)});
    };
    for (const SeedResult& seed : submission->seeds) add(seed.seed, seed.bpb, seed.loss, seed.tokens, seed.bytes);
    if (submission->seeds.empty()) add("", submission->bpb, submission->loss, submission->tokens, submission->bytes);
  }

  void denominator(const LogScore& score) {
    std::optional<Denominator> solved = score.denominator;
    if (!solved && score.targets && score.bytes && *score.targets > 0 && *score.bytes > 0) {
      const double ratio = static_cast<double>(*score.bytes) / static_cast<double>(*score.targets);
      solved = Denominator{ratio, ratio, ratio};
    }
    if (!solved) return;
    const DenominatorMatch match = match_denominator(*solved, registry_);
    const bool other_split =
        std::any_of(registry_.splits.begin(), registry_.splits.end(), [&](const KnownSplit& split) {
          return split.scored && split.scored == score.targets && split.bytes_per_token > 0 &&
                 std::abs(solved->bytes_per_token / split.bytes_per_token - 1) <= kNearDenominator;
        });
    if (match.nearest && match.known.empty() && !other_split) {
      const bool far = match.distance > 0.01;
      find(far ? "denominator_outlier" : "denominator_fine", far ? Severity::error : Severity::warning, score.where,
           match.text);
    }
    if (match.known.size() > 1) note(score.where, match.text + ": the printed digits do not tell them apart");
    const double width = solved->highest - solved->lowest;
    if (audit_.denominator && audit_.denominator->highest - audit_.denominator->lowest <= width) return;
    audit_.denominator = solved;
    audit_.denominator_place = score.where;
    audit_.denominator_text = match.text;
    audit_.known.clear();
    for (const KnownTokenizer* tokenizer : match.known) audit_.known.push_back(tokenizer->name);
    audit_.nearest = match.nearest ? std::optional(*match.nearest) : std::nullopt;
    audit_.targets = score.targets;
    audit_.known_bytes.clear();
    if (score.targets) {
      const double targets = static_cast<double>(*score.targets);
      audit_.known_bytes =
          registry_.denominators_between(solved->lowest * targets - 0.5, solved->highest * targets + 0.5);
    }
  }

  // Whole evaluations of one run divide by the same bytes.
  void mixed(const RunLog& log) {
    const LogEvaluation *lowest = nullptr, *highest = nullptr;
    Denominator low, high;
    for (const LogEvaluation& evaluation : log.evaluations) {
      if (evaluation.running || evaluation.aside) continue;
      const auto solved = denominator_of(evaluation.loss, evaluation.bpb);
      if (!solved) continue;
      if (!lowest || solved->highest < low.highest) lowest = &evaluation, low = *solved;
      if (!highest || solved->lowest > high.lowest) highest = &evaluation, high = *solved;
    }
    if (!lowest || !(high.lowest > low.highest * 1.001)) return;
    find("denominator_mixed", Severity::error, at(log, *highest),
         "evaluations of one run divide by " + fixed(high.bytes_per_token, 5) + " bytes a token here and by " +
             fixed(low.bytes_per_token, 5) + " in line " + std::to_string(lowest->line));
  }

  // The first reason to think that only a part of the text was scored, or of a longer or shorter one.
  void coverage() {
    const auto partial = [&](Place where, std::string evidence) {
      find("partial_documents", Severity::error, std::move(where), std::move(evidence));
    };
    const auto& submission = record_.submission;
    if (submission && submission->documents && submission->documents->value >= 1 &&
        submission->documents->value < static_cast<double>(registry_.documents))
      return partial(submission->documents->place,
                     count(submission->documents->value) + " documents, not " + grouped(registry_.documents));
    for (const RunLog& log : record_.logs) {
      const LogEvaluation* final = log.final_evaluation();
      auto documents = log.documents;
      if (final && final->documents && *final->documents > 0) documents = {*final->documents, at(log, *final)};
      if (documents && documents->value < registry_.documents)
        return partial(documents->place, grouped(documents->value) + " documents, not " + grouped(registry_.documents));
      if (final && final->running && final->share.value_or(1) < 1)
        return partial(at(log, *final),
                       "the log ends with a running average after " + percent(*final->share) + " of the text");
    }
    for (const LogScore& score : scores_) {
      if (score.bytes && static_cast<double>(*score.bytes) < kWholeShare * static_cast<double>(registry_.charged_bytes))
        return partial(score.where,
                       grouped(*score.bytes) + " bytes were scored, " +
                           percent(static_cast<double>(*score.bytes) / static_cast<double>(registry_.charged_bytes)) +
                           " of the set");
      if (!score.targets) continue;
      const auto targets = static_cast<double>(*score.targets);
      for (const KnownSplit& split : registry_.splits)
        if (split.scored == score.targets)
          note(score.where, grouped(*score.targets) + " targets are those of " + split.name);
      const DenominatorMatch match =
          score.denominator ? match_denominator(*score.denominator, registry_) : DenominatorMatch{};
      if (!match.known.empty() && match.known[0]->targets()) {
        const auto whole = static_cast<double>(*match.known[0]->targets());
        if (targets < kWholeShare * whole)
          return partial(score.where, grouped(*score.targets) + " targets, " + percent(targets / whole) + " of the " +
                                          count(whole) + " that " + match.known[0]->name + " has");
      } else if (score.denominator &&
                 score.denominator->highest * targets < kWholeShare * static_cast<double>(registry_.charged_bytes)) {
        return partial(
            score.where,
            grouped(*score.targets) + " targets of " + fixed(score.denominator->bytes_per_token, 3) + " bytes are " +
                percent(score.denominator->bytes_per_token * targets / static_cast<double>(registry_.charged_bytes)) +
                " of the set");
      }
    }
    headline_is_running();
  }

  // A headline that only a running average has, and no whole evaluation.
  void headline_is_running() {
    const auto& submission = record_.submission;
    if (!submission || !submission->bpb) return;
    const PrintedNumber& headline = submission->bpb->value;
    const double near = 0.6 * std::pow(10.0, -std::clamp(headline.digits, 0, 12));
    const RunLog* only = nullptr;
    const LogEvaluation* running = nullptr;
    for (const RunLog& log : record_.logs)
      for (const LogEvaluation& evaluation : log.evaluations) {
        if (std::abs(evaluation.bpb->value - headline.value) > near) continue;
        if (!evaluation.running || evaluation.share.value_or(1) >= 1) return;
        only = &log;
        running = &evaluation;
      }
    if (running)
      find("partial_documents", Severity::error, at(*only, *running),
           "the headline " + shortest(headline.value) + " is a running average after " + percent(*running->share) +
               " of the text");
  }

  void over_cap(const Located<double>& total, const std::string& what, Severity severity = Severity::error) {
    if (total.value <= static_cast<double>(rules_.cap_bytes)) return;
    find("size_over_cap", severity, total.place,
         what + count(total.value) + " bytes, " + count(total.value - static_cast<double>(rules_.cap_bytes)) +
             " over the cap of " + grouped(static_cast<std::int64_t>(rules_.cap_bytes)));
  }

  void sizes() {
    if (const auto& submission = record_.submission) {
      if (submission->total_bytes)
        over_cap(*submission->total_bytes, "");
      else if (submission->code_bytes && submission->model_bytes)
        over_cap({submission->code_bytes->value + submission->model_bytes->value, submission->model_bytes->place},
                 "code and model: ");
      else
        for (const Located<double>& size : submission->sizes) {
          std::string name = size.place.key;
          for (char& c : name) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
          const auto has = [&](const char* word) { return name.find(word) != std::string::npos; };
          if ((has("total") || has("artifact") || has("submission")) && !has("raw") && !has("uncompressed") &&
              !has("limit") && !has("cap") && !has("budget") && !has("token")) {
            over_cap(size, "");
            break;
          }
        }
      for (const SeedResult& seed : submission->seeds)
        if (seed.total_bytes) over_cap(*seed.total_bytes, "seed " + seed.seed + ": ");
    }
    for (const RunLog& log : record_.logs) {
      if (!log.total_bytes) continue;
      const auto smallest = std::min_element(log.all_totals.begin(), log.all_totals.end(),
                                             [](const auto& a, const auto& b) { return a.value < b.value; });
      const bool one_fits = smallest->value <= static_cast<double>(rules_.cap_bytes);
      over_cap(*log.total_bytes,
               one_fits ? "the last total of the log (" + to_string(smallest->place) + " has " +
                              count(smallest->value) + "): "
                        : "",
               one_fits ? Severity::warning : Severity::error);
    }
  }

  // Scores by seed: of submission.json, else of each kind of evaluation that all logs have.
  using Scores = std::vector<std::pair<std::string, double>>;
  std::vector<Scores> seed_scores() const {
    Scores listed;
    if (record_.submission)
      for (const SeedResult& seed : record_.submission->seeds)
        if (seed.bpb) listed.emplace_back(seed.seed, seed.bpb->value.value);
    if (!listed.empty()) return {listed};
    std::map<std::string, Scores> kinds;
    std::size_t runs = 0;
    Scores last;
    for (const RunLog& log : record_.logs) {
      if (log.evaluations.empty()) continue;
      const std::string seed = log.seed ? log.seed->value : to_string(at(log, *log.final_evaluation()));
      const std::pair<std::string, double> result(seed, log.final_evaluation()->bpb->value);
      if (std::find(last.begin(), last.end(), result) != last.end()) continue;  // a copy of another log
      ++runs;
      last.push_back(result);
      std::map<std::string, double> of_log;
      for (const LogEvaluation& evaluation : log.evaluations)
        if (!evaluation.running && !evaluation.step) of_log[kind_of(evaluation.label)] = evaluation.bpb->value;
      for (const auto& [kind, bpb] : of_log) kinds[kind].emplace_back(seed, bpb);
    }
    std::vector<Scores> all;
    if (!last.empty()) all.push_back(last);
    for (const auto& [kind, scores] : kinds)
      if (scores.size() == runs) all.push_back(scores);
    return all;
  }

  // Logs without a submission.json may be some of a record's; a submission.json stands for all of it.
  void single_seed(const std::vector<Scores>& candidates) {
    const auto& submission = record_.submission;
    std::set<std::string> names;
    if (!candidates.empty())
      for (const auto& [seed, bpb] : candidates[0]) names.insert(seed);
    if (names.size() > 1 || (submission && submission->seed_count.value_or(1) > 1)) return;
    const bool one =
        submission ? names.size() == 1 || submission->seed_count == 1 : names.size() == 1 && candidates[0].size() > 1;
    if (one)
      find("single_seed", Severity::warning, submission ? Place{record_.submission_file, 0, {}} : scores_[0].where,
           "results of one seed alone; usual are three");
  }

  void seeds() {
    const auto& submission = record_.submission;
    const std::vector<Scores> candidates = seed_scores();
    single_seed(candidates);
    if (!submission || !submission->bpb) return;
    const PrintedNumber& headline = submission->bpb->value;
    const double rounding = 0.5001 * std::pow(10.0, -std::clamp(headline.digits, 0, 12));
    const Scores* best = nullptr;
    for (const Scores& scores : candidates) {
      if (scores.size() < 2) return;
      double sum = 0;
      for (const auto& [seed, bpb] : scores) sum += bpb;
      const double away = std::abs(headline.value - sum / static_cast<double>(scores.size()));
      if (away <= rounding) return;  // the mean, to its last digit
      const auto least = std::min_element(scores.begin(), scores.end(),
                                          [](const auto& a, const auto& b) { return a.second < b.second; });
      if (std::abs(headline.value - least->second) <= rounding && !best)
        best = &scores;
      else if (away <= kHeadlineTolerance)
        return;
    }
    if (candidates.empty()) return;
    const Scores& scores = best ? *best : candidates[0];
    double sum = 0;
    std::vector<std::string> shown;
    for (const auto& [seed, bpb] : scores) sum += bpb, shown.push_back(shortest(bpb));
    const double mean = sum / static_cast<double>(scores.size());
    const std::string evidence =
        "the headline is " + shortest(headline.value) + ", the mean of " + join(shown, ", ") + " is " + fixed(mean, 6);
    if (std::abs(headline.value - mean) > kHeadlineTolerance)
      find("headline_not_seed_mean", Severity::error, submission->bpb->place, evidence);
    if (best)
      find("headline_is_best_seed", Severity::warning, submission->bpb->place,
           evidence + "; it equals the best of them");
  }

  void over_time(const char* id, const Located<double>& time, const std::optional<double>& limit,
                 const std::string& what) {
    if (!limit || time.value <= *limit + rules_.tolerance_seconds) return;
    find(id, Severity::error, time.place,
         what + " took " + fixed(time.value, 3) + " s of " + shortest(*limit) + " s (tolerance " +
             shortest(rules_.tolerance_seconds) + " s)");
  }

  void times() {
    if (claims_no_record(record_)) {
      if (rules_.train_seconds || rules_.eval_seconds)
        note({record_.submission_file, 0, {}}, "a track without time limits: times are not compared");
      return;
    }
    bool train = false, eval = false;  // of the logs
    for (const RunLog& log : record_.logs) {
      if (log.train_seconds)
        over_time("train_time_over", *log.train_seconds, rules_.train_seconds, "training"), train = true;
      if (log.process_seconds)
        over_time("eval_time_over", *log.process_seconds, rules_.eval_seconds, "the evaluating process"), eval = true;
      else if (log.eval_seconds)
        over_time("eval_time_over", *log.eval_seconds, rules_.eval_seconds, "evaluation"), eval = true;
    }
    const auto& submission = record_.submission;
    if (!submission) return;
    if (!train && submission->train_seconds)
      over_time("train_time_over", *submission->train_seconds, rules_.train_seconds, "training");
    if (!eval && submission->eval_seconds)
      over_time("eval_time_over", *submission->eval_seconds, rules_.eval_seconds, "evaluation");
    for (const SeedResult& seed : submission->seeds) {
      if (!train && seed.train_seconds)
        over_time("train_time_over", *seed.train_seconds, rules_.train_seconds, "training of seed " + seed.seed);
      if (!eval && seed.eval_seconds)
        over_time("eval_time_over", *seed.eval_seconds, rules_.eval_seconds, "evaluation of seed " + seed.seed);
    }
  }

  void configurations() {
    const RunLog* first = nullptr;
    for (const RunLog& log : record_.logs) {
      if (log.evaluations.empty()) continue;
      if (!first)
        first = &log;
      else if (const auto differs = different_setting(first->config, log.config))
        return note({log.file, 0, differs->name}, "not of one configuration: " + differs->name + " is " +
                                                      differs->first + " in " + first->file + " and " +
                                                      differs->second + " here");
    }
  }

  const RecordFolder& record_;
  const RuleSet& rules_;
  const Registry& registry_;
  LogAudit& audit_;
  std::vector<LogScore> scores_;
};

// One record a folder; the files that are named are one together, JSON files beyond the first one each.
Result<std::vector<RecordFolder>> read_records(const std::vector<std::string>& paths) {
  std::vector<RecordFolder> records;
  std::vector<std::string> files, more_json;
  bool json = false;
  for (const std::string& path : paths) {
    if (is_folder(path)) {
      P5_TRY(records.emplace_back(), read_record_folder(path));
    } else if (path.ends_with(".json") && json) {
      more_json.push_back(path);
    } else {
      json = json || path.ends_with(".json");
      files.push_back(path);
    }
  }
  if (!files.empty()) {
    P5_TRY(records.emplace_back(), read_record_files(files));
  }
  for (const std::string& path : more_json) {
    P5_TRY(records.emplace_back(), read_record_files({path}));
  }
  return records;
}

}  // namespace

Result<LogAudit> audit_logs(const LogAuditRequest& request, const RuleSet& rules) {
  if (request.paths.empty()) return usage_error("name the logs to audit");
  LogAudit audit;
  P5_TRY(const Registry registry, request.registry.empty() ? load_registry() : read_registry(request.registry));
  P5_TRY(const std::vector<RecordFolder> records, read_records(request.paths));
  for (const RecordFolder& record : records) RecordAudit(record, rules, registry, audit).run();
  const auto has = [&](Severity severity) {
    return std::any_of(audit.findings.begin(), audit.findings.end(),
                       [&](const LogFinding& finding) { return finding.severity == severity; });
  };
  const bool open = !audit.denominator || audit.known.size() != 1;
  audit.verdict = has(Severity::error)             ? Verdict::fail
                  : open || has(Severity::warning) ? Verdict::unknown
                                                   : Verdict::pass;
  return audit;
}

}  // namespace par5
