#include "cli/log_audit.h"

#include <algorithm>
#include <cmath>

#include "cli/table.h"
#include "core/text.h"

namespace par5 {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kScreen =
    "a screen, not a verdict: printed numbers can show a fault, never that a result is right (`par5 prove` can)";

const char* severity_name(Severity severity) { return severity == Severity::error ? "error" : "warning"; }

Json number(const std::optional<PrintedNumber>& value) { return value ? Json(value->value) : Json(nullptr); }
Json interval(const std::optional<Denominator>& value) {
  return value ? Json({value->lowest, value->highest}) : Json(nullptr);
}
template <class T>
Json optional(const std::optional<T>& value) {
  return value ? Json(*value) : Json(nullptr);
}

Json report_of(const LogAudit& audit, const RuleSet& rules) {
  Json report;
  report["verdict"] = verdict_name(audit.verdict);
  report["screen"] = kScreen;
  report["rules"] = rules.name;
  report["findings"] = Json::array();
  for (const LogFinding& finding : audit.findings)
    report["findings"].push_back({{"id", finding.id},
                                  {"severity", severity_name(finding.severity)},
                                  {"where", to_string(finding.where)},
                                  {"evidence", finding.evidence}});
  report["bytes_per_token"] = audit.denominator ? Json(audit.denominator->bytes_per_token) : Json(nullptr);
  report["bytes_per_token_interval"] = interval(audit.denominator);
  report["nearest"] = audit.nearest ? Json(audit.nearest->name) : Json(nullptr);
  report["nearest_bytes_per_token"] = audit.nearest ? Json(audit.nearest->bytes_per_token) : Json(nullptr);
  report["matches"] = audit.known;
  report["targets"] = optional(audit.targets);
  report["charged_bytes"] = audit.denominator && audit.targets
                                ? Json(audit.denominator->bytes_per_token * static_cast<double>(*audit.targets))
                                : Json(nullptr);
  report["known_bytes"] = audit.known_bytes;
  report["scores"] = Json::array();
  for (const LogScore& score : audit.scores)
    report["scores"].push_back(
        {{"seed", score.seed},
         {"where", to_string(score.where)},
         {"val_bpb", number(score.bpb)},
         {"val_loss", number(score.loss)},
         {"bytes_per_token", score.denominator ? Json(score.denominator->bytes_per_token) : Json(nullptr)},
         {"bytes_per_token_interval", interval(score.denominator)},
         {"targets", optional(score.targets)},
         {"bytes", optional(score.bytes)}});
  report["notes"] = Json::array();
  for (const LogNote& note : audit.notes)
    report["notes"].push_back({{"where", to_string(note.where)}, {"text", note.text}});
  return report;
}

std::string text_of(const LogAudit& audit) {
  const auto line = [](const std::string& name, const std::string& text, const Place& where) {
    const std::string place = to_string(where);
    return pad_right(name, 9) + text + (place.empty() ? "" : " [" + place + "]") + "\n";
  };
  std::string text;
  for (const LogScore& score : audit.scores)
    text +=
        line("score",
             (score.seed.empty() ? "" : "seed " + score.seed + ": ") +
                 (score.bpb ? "val_bpb " + fixed(score.bpb->value, std::clamp(score.bpb->digits, 0, 12))
                            : std::string("-")) +
                 (score.loss ? ", val_loss " + fixed(score.loss->value, std::clamp(score.loss->digits, 0, 12)) : ""),
             score.where);
  if (audit.denominator) {
    text += line("divisor", audit.denominator_text, audit.denominator_place);
    if (audit.targets) {
      const double targets = static_cast<double>(*audit.targets);
      text += line("bytes",
                   grouped(std::llround(audit.denominator->lowest * targets)) + " to " +
                       grouped(std::llround(audit.denominator->highest * targets)) + " for " + grouped(*audit.targets) +
                       " targets" +
                       (audit.known_bytes.empty() ? "; no known total is among them"
                                                  : "; among them " + join(audit.known_bytes, ", ")),
                   {});
    }
  } else {
    text += line("divisor", "no line gives both val_loss and val_bpb", {});
  }
  for (const LogFinding& finding : audit.findings)
    text += line(severity_name(finding.severity), finding.id + ": " + finding.evidence, finding.where);
  for (const LogNote& note : audit.notes) text += line("note", note.text, note.where);
  return text + "verdict  " + std::string(verdict_name(audit.verdict)) + ", " + kScreen + "\n";
}

}  // namespace

void add_log_audit_options(CLI::App& app, LogAuditRequest& request) {
  CLI::Option* log = app.add_option(
      "--log", request.paths,
      "Screen logs and submission.json files, or record folders that hold them, instead of auditing a target");
  app.add_option("--registry", request.registry,
                 "TOML file of known tokenizers and denominators in place of the built-in one")
      ->needs(log);
}

Result<Outcome> run_log_audit(const LogAuditRequest& request, const RuleSet& rules, bool allow_unknown) {
  P5_TRY(const LogAudit audit, audit_logs(request, rules));
  Outcome outcome;
  outcome.report = report_of(audit, rules);
  outcome.text = text_of(audit);
  const bool passed = audit.verdict == Verdict::pass || (audit.verdict == Verdict::unknown && allow_unknown);
  outcome.status = passed ? 0 : exit_status(ErrorCode::check_failed);
  return outcome;
}

}  // namespace par5
