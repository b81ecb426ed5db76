#include "budgets/audit.h"
#include "cli/commands.h"
#include "core/text.h"

namespace par5 {
namespace {

struct Options {
  std::string target;
  std::string rules = "minigolf";
  std::string tokenizer;
  std::vector<std::string> code;
  bool count_tokenizer = false;
  bool no_count_tokenizer = false;
  bool allow_unknown = false;
};

std::string table(const AuditReport& report, const RuleSet& rules) {
  const auto column = [](std::uint64_t bytes) {
    const std::string text = grouped(static_cast<std::int64_t>(bytes));
    return std::string(text.size() < 14 ? 14 - text.size() : 0, ' ') + text;
  };
  std::string text = "rules  " + rules.name + ": " + rules.title + "\n";
  for (const CountedPart& part : report.parts) text += column(part.bytes) + "  " + part.what + (part.counted ? "" : " (not counted)") + "\n";
  const bool fits = report.total_bytes <= rules.cap_bytes;
  const std::uint64_t distance = fits ? rules.cap_bytes - report.total_bytes : report.total_bytes - rules.cap_bytes;
  text += column(report.total_bytes) + "  total, " + (fits ? "FITS" : "OVER") + " the cap of " +
          grouped(static_cast<std::int64_t>(rules.cap_bytes)) + (fits ? " with " : " by ") +
          grouped(static_cast<std::int64_t>(distance)) + (fits ? " to spare\n" : "\n");
  for (const AuditCheck& check : report.checks)
    text += std::string(verdict_name(check.verdict)) + std::string(9 - verdict_name(check.verdict).size(), ' ') + check.id + ": " + check.evidence + "\n";
  return text + "verdict  " + std::string(verdict_name(report.verdict)) + "\n";
}

Result<Outcome> run(const Options& options, const CommonOptions& common) {
  P5_TRY(const RuleSet rules, load_rules(options.rules));
  AuditInput input{options.target, options.code, options.tokenizer, std::nullopt};
  if (options.count_tokenizer) input.count_tokenizer = true;
  if (options.no_count_tokenizer) input.count_tokenizer = false;
  P5_TRY(const AuditReport report, audit(input, rules, common.threads));

  Outcome outcome;
  outcome.text = table(report, rules);
  outcome.report["rules"] = rules.name;
  outcome.report["verdict"] = verdict_name(report.verdict);
  outcome.report["total_bytes"] = report.total_bytes;
  outcome.report["cap_bytes"] = rules.cap_bytes;
  outcome.report["margin_bytes"] = static_cast<std::int64_t>(rules.cap_bytes) - static_cast<std::int64_t>(report.total_bytes);
  for (const CountedPart& part : report.parts)
    outcome.report["parts"].push_back({{"what", part.what}, {"bytes", part.bytes}, {"counted", part.counted}});
  for (const AuditCheck& check : report.checks)
    outcome.report["checks"].push_back({{"id", check.id}, {"verdict", verdict_name(check.verdict)}, {"evidence", check.evidence}});
  const bool passed = report.verdict == Verdict::pass || (report.verdict == Verdict::unknown && options.allow_unknown);
  outcome.status = passed ? 0 : exit_status(ErrorCode::check_failed);
  return outcome;
}

}  // namespace

Command audit_command() {
  return {"audit", "Count what would be shipped against a byte budget; exit 0 only on pass",
          "  par5 audit model.par5\n  par5 audit --rules parameter-golf-10min-16mb --code train_gpt.py model.par5",
          [](CLI::App& app) -> Runner {
            auto options = std::make_shared<Options>();
            app.add_option("target", options->target, "Artifact (.par5)")->required();
            app.add_option("--rules", options->rules, "Rule set: " + join(rule_names(), ", ") + ", or a TOML file")->capture_default_str();
            app.add_option("--code", options->code, "Code files that are shipped with the artifact");
            app.add_option("--tokenizer", options->tokenizer, "Tokenizer that is shipped beside the artifact");
            auto* yes = app.add_flag("--count-tokenizer", options->count_tokenizer, "Count the tokenizer, whatever the rules say");
            app.add_flag("--no-count-tokenizer", options->no_count_tokenizer, "Do not count it")->excludes(yes);
            app.add_flag("--allow-unknown", options->allow_unknown, "Exit 0 on an unknown verdict too");
            return [options](const CommonOptions& common) { return run(*options, common); };
          }};
}

}  // namespace par5
