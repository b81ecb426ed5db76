// P1 to P3: whether the claim is one.
#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "budgets/checks.h"
#include "budgets/claims.h"
#include "core/text.h"

namespace par5 {
namespace {

struct NamedConfig {
  std::string name, seed;
  Place place;
  const std::map<std::string, std::string>* settings = nullptr;
};

std::vector<NamedConfig> configurations(const AuditSubject& subject) {
  std::vector<NamedConfig> configs;
  for (const OwnRun& run : subject.runs)
    configs.push_back(
        {run.prefix.empty() ? "the run" : run.prefix, run.seed, {run.prefix + "config.toml", 0, {}}, &run.settings});
  if (!subject.own)
    for (const RunLog& log : subject.folder.logs)
      if (!log.evaluations.empty())
        configs.push_back({log.file, log.seed ? log.seed->value : "", {log.file, 0, {}}, &log.config});
  return configs;
}

// Scores by seed: of the submission, else of the logs' last evaluations.
std::vector<std::pair<std::string, double>> seed_scores(const AuditSubject& subject) {
  std::vector<std::pair<std::string, double>> scores;
  if (subject.folder.submission)
    for (const SeedResult& seed : subject.folder.submission->seeds)
      if (seed.bpb) scores.emplace_back(seed.seed, seed.bpb->value.value);
  if (!scores.empty()) return scores;
  for (const RunLog& log : subject.folder.logs)
    if (const LogEvaluation* last = log.final_evaluation(); last && last->bpb)
      scores.emplace_back(log.seed ? log.seed->value : log.file, last->bpb->value);
  return scores;
}

}  // namespace

Finding check_significance(const AuditSubject& subject) {
  const RuleSet& rules = *subject.rules;
  if (!rules.margin_nats) return does_not_apply("these rules set no margin");
  if (claims_no_record(subject.folder)) return does_not_apply("the submission claims no record");
  for (const EvidenceReport* report : of_command(subject.evidence, "compare")) {
    if (!report->json.contains("margins") || !report->json["margins"].is_array()) continue;
    for (const auto& margin : report->json["margins"]) {
      if (!margin.is_object() || !margin.contains("unit") || !margin.contains("welch") || !margin["welch"].is_object())
        continue;
      const std::string unit = margin["unit"].get<std::string>();
      const auto& test = margin["welch"];
      if (unit != "nats/" + rules.margin_unit || !test.contains("p_one_sided") || !test["p_one_sided"].is_number())
        continue;
      const double p = test["p_one_sided"].get<double>(), tested = margin.value("margin", 0.0),
                   difference = margin.value("difference", 0.0);
      const Place place{report->file, 0, "margins." + unit};
      if (tested < *rules.margin_nats)
        return unknown(
            "the comparison tests a margin of " + shortest(tested) + ", the rule asks " + shortest(*rules.margin_nats),
            {place});
      const std::string evidence = "difference " + shortest(difference) + " " + unit + "; p " + shortest(p) +
                                   " (one-sided, Welch) that the gain is " + shortest(tested) + " or less";
      if (difference >= 0) return fails(evidence + ": no gain", {place});
      return p < rules.p_value ? passes(evidence, {place})
                               : fails(evidence + "; it must be below " + shortest(rules.p_value), {place});
    }
  }
  return unknown(
      "no comparison with the previous record lies in the folder (`par5 compare … --against … --json >compare.json`)");
}

Finding check_runs(const AuditSubject& subject) {
  const RuleSet& rules = *subject.rules;
  const auto configs = configurations(subject);
  std::set<std::string> seeds;
  std::vector<Place> places;
  for (const NamedConfig& config : configs) {
    if (!config.seed.empty()) seeds.insert(config.seed);
    places.push_back(config.place);
  }
  for (std::size_t i = 1; i < configs.size(); ++i)
    if (const auto differs = different_setting(*configs[0].settings, *configs[i].settings))
      return fails("the runs are not of one configuration: " + differs->name + " is " + differs->first + " in " +
                       configs[0].name + " and " + differs->second + " in " + configs[i].name,
                   {configs[0].place, configs[i].place});
  const auto needed = static_cast<std::size_t>(rules.runs);
  const std::string count = std::to_string(seeds.size()) + (seeds.size() == 1 ? " seed" : " seeds") + " with logs, " +
                            std::to_string(needed) + " needed";
  if (seeds.size() < needed) return fails(count, places);
  const auto& submission = subject.folder.submission;
  if (submission && submission->bpb && submission->seeds.size() > 1) {
    double sum = 0;
    std::size_t n = 0;
    for (const SeedResult& seed : submission->seeds)
      if (seed.bpb) sum += seed.bpb->value.value, ++n;
    constexpr double kRounding = 2e-4;
    if (n > 0 && std::abs(sum / static_cast<double>(n) - submission->bpb->value.value) > kRounding)
      return fails("the headline " + shortest(submission->bpb->value.value) + " is not the mean of its seeds, " +
                       fixed(sum / static_cast<double>(n), 6),
                   {submission->bpb->place});
  }
  return passes(count + ", one configuration (settings that both logs print)", places);
}

Finding check_best_seed(const AuditSubject& subject) {
  const auto scores = seed_scores(subject);
  const auto& submission = subject.folder.submission;
  if (scores.size() < 2) return unknown("fewer than two seeds: whether one was chosen cannot be seen");
  const auto best =
      std::min_element(scores.begin(), scores.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
  if (submission && submission->bpb && std::abs(submission->bpb->value.value - best->second) < 5e-5)
    return unknown("warning: the headline equals the best seed (" + best->first + ", " + shortest(best->second) + ")",
                   {submission->bpb->place});
  return unknown("the headline is not the best seed's; whether more seeds were run cannot be seen");
}

}  // namespace par5
