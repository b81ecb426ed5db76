#include "budgets/audit.h"

#include <algorithm>

#include "budgets/checks.h"
#include "core/text.h"

namespace par5 {
namespace {

using Check = Finding (*)(const AuditSubject&);

struct CheckEntry {
  const char* id;
  Check check;
  bool of_artifact;  // a lone artifact can answer it
};

constexpr CheckEntry kChecks[] = {
    {"artifact_decodes", check_artifact_decodes, true},
    {"size_is_explained", check_size_explained, true},
    {"S1", check_cap, true},
    {"S2", check_code, true},
    {"S3", check_tokenizer, true},
    {"S4", check_packages, true},
    {"S5", check_isolation, false},
    {"T1", check_train_time, false},
    {"T2", check_calibration, false},
    {"E1", check_eval_time, false},
    {"E3", check_validation_set, false},
    {"V1", check_overlap, false},
    {"V2", check_test_time_training, false},
    {"C1", check_causal, false},
    {"C2", check_normalised, false},
    {"C3", check_score_before_update, false},
    {"C4", check_single_pass, false},
    {"K1", check_denominator, false},
    {"P1", check_significance, false},
    {"P2", check_runs, false},
    {"P3", check_best_seed, false},
    {"F1", check_one_folder, false},
    {"F2", check_files, false},
    {"F3", check_declared, false},
    {"F4", check_track, false},
};

RuleCheck answer(const AuditSubject& subject, const RuleTitle& rule) {
  const RuleSet& rules = *subject.rules;
  RuleCheck check{rule.id, rule.title, Answer::not_applicable, rules.is_required(rule.id), {}, {}};
  const auto entry = std::find_if(std::begin(kChecks), std::end(kChecks),
                                  [&](const CheckEntry& known) { return std::string_view(known.id) == rule.id; });
  const bool manual = rules.is_manual(rule.id);
  if (!rules.asks(rule.id) && !manual) {
    check.evidence = "not asked by these rules";
    return check;
  }
  if (subject.kind == AuditSubject::Kind::artifact && !entry->of_artifact) {
    check.evidence = "an artifact alone cannot answer this; audit its run folder or submission";
    return check;
  }
  const bool folder_rule = rule.id[0] == 'F' || rule.id == std::string_view("P1") || rule.id == std::string_view("P2");
  if (subject.kind == AuditSubject::Kind::run && folder_rule) {
    check.evidence = "asked of a submission, not of a run";
    return check;
  }
  Finding finding = entry->check(subject);
  check.answer = manual && finding.answer != Answer::not_applicable ? Answer::manual : finding.answer;
  check.evidence = std::move(finding.evidence);
  check.places = std::move(finding.places);
  return check;
}

}  // namespace

std::string_view answer_name(Answer answer) {
  switch (answer) {
    case Answer::pass:
      return "pass";
    case Answer::fail:
      return "fail";
    case Answer::unknown:
      return "unknown";
    case Answer::manual:
      return "manual";
    case Answer::not_applicable:
      return "not_applicable";
  }
  return "unknown";
}

const RuleCheck* AuditReport::find(const std::string& id) const {
  const auto found = std::find_if(checks.begin(), checks.end(), [&](const RuleCheck& check) { return check.id == id; });
  return found == checks.end() ? nullptr : &*found;
}

Verdict overall(const std::vector<RuleCheck>& checks) {
  const auto any = [&](auto&& holds) { return std::any_of(checks.begin(), checks.end(), holds); };
  if (any([](const RuleCheck& check) { return check.answer == Answer::fail; })) return Verdict::fail;
  return any([](const RuleCheck& check) { return check.answer == Answer::unknown && check.required; })
             ? Verdict::unknown
             : Verdict::pass;
}

AuditReport audit_subject(const AuditSubject& subject) {
  AuditReport report;
  report.target_kind = kind_name(subject.kind);
  report.sizes = subject.sizes;
  for (const RuleTitle& rule : all_rules()) report.checks.push_back(answer(subject, rule));
  report.verdict = overall(report.checks);
  return report;
}

Result<AuditReport> audit(const AuditRequest& request, const RuleSet& rules) {
  P5_TRY(const AuditSubject subject, read_subject(request, rules));
  return audit_subject(subject);
}

}  // namespace par5
