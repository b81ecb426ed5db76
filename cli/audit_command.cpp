#include "budgets/audit.h"
#include "budgets/audit_json.h"
#include "budgets/own_code.h"
#include "cli/audit_text.h"
#include "cli/commands.h"
#include "cli/exact_rescore.h"
#include "cli/ledger_audit.h"
#include "cli/log_audit.h"
#include "cli/model_tokenizer.h"
#include "cli/probe_audit.h"
#include "cli/torch_front.h"
#include "core/text.h"

namespace par5 {
namespace {

struct Options {
  std::string rules;  // empty: the default of what is audited
  AuditRequest request;
  bool count_tokenizer = false;
  bool no_count_tokenizer = false;
  bool allow_unknown = false;
  bool streams = false;
  LedgerAuditOptions ledger;
  LogAuditRequest logs;
  std::string probes;
};

Result<Outcome> run_on_ledger(const Options& options, const CommonOptions& common) {
  const EvalOptions& evaluation = options.ledger.evaluation;
  if (evaluation.model.empty() != evaluation.data.empty())
    return usage_error("scoring blocks anew takes both --model and --data");
  const auto shards = [&] {
    return model_shards(evaluation.data, evaluation.model, options.request.tokenizer, common.threads);
  };
  if (evaluation.model.empty() || evaluation.engine != "torch")
    return run_ledger_audit(
        options.ledger, common,
        [&]() -> Result<EvalData> {
          P5_TRY(const TextShards text, shards());
          return load_eval_data(text.folder(), 0);
        },
        [&](const RescoreRequest& request) { return rescore_exactly(request, common.threads); });
  if (is_shard_folder(evaluation.data) || !torch_is_built()) return tl::unexpected(hand_over_to_torch());
  P5_TRY(const TextShards text, shards());
  P5_TRY(const int status, run_torch_on_shards("audit", text.folder()));
  return Outcome{nullptr, "", status};
}

Result<Outcome> run(const Options& options, const CommonOptions& common) {
  if (!options.ledger.file.empty()) return run_on_ledger(options, common);
  if (!options.probes.empty()) return run_probe_audit(options.probes, options.ledger.evaluation.model);
  if (!options.ledger.evaluation.model.empty())
    return usage_error("--model goes with --ledger FILE or --probes FILE", "--model");
  const auto rules_or = [&](const char* name) { return load_rules(options.rules.empty() ? name : options.rules); };
  if (!options.logs.paths.empty()) {
    P5_TRY(const RuleSet field, rules_or("parameter-golf-10min-16mb"));
    return run_log_audit(options.logs, field, options.allow_unknown);
  }
  if (options.request.target.empty())
    return usage_error(
        "name what to audit: an artifact, a run or a submission folder; a ledger with --ledger FILE, logs with --log "
        "PATH");
  P5_TRY(const RuleSet rules, rules_or("minigolf"));
  AuditRequest request = options.request;
  if (options.count_tokenizer) request.count_tokenizer = true;
  if (options.no_count_tokenizer) request.count_tokenizer = false;
  request.threads = common.threads;
  request.program = sibling_program("par5");
  if (request.source.empty()) request.source = source_tree_of(request.program);
  P5_TRY(const AuditReport report, audit(request, rules));

  Outcome outcome;
  outcome.text = audit_text(report, rules, options.streams, common.verbose);
  outcome.report = audit_json(report, rules);
  const bool passed = report.verdict == Verdict::pass || (report.verdict == Verdict::unknown && options.allow_unknown);
  outcome.status = passed ? 0 : exit_status(ErrorCode::check_failed);
  return outcome;
}

}  // namespace

Command audit_command() {
  return {
      "audit", "Hold an artifact, a run or a submission folder to a rule set; exit 0 only on pass",
      "  par5 audit model.par5\n  par5 audit --rules parameter-golf-10min-16mb --code train_gpt.py model.par5\n"
      "  par5 audit --rules parameter-golf-10min-16mb records/track_10min_16mb/SOMEBODYS --allow-unknown\n" +
          std::string(kLedgerAuditExamples) +
          "  par5 audit --probes probe.json --model model.par5\n"
          "  par5 audit --log records/track_10min_16mb/SOMEBODYS\n  par5 audit --log train_seed42.log train_seed7.log",
      [](CLI::App& app) -> Runner {
        auto options = std::make_shared<Options>();
        app.add_option("target", options->request.target,
                       "Artifact (.par5 or a published archive), run folder or submission folder");
        app.add_option("--rules", options->rules,
                       "Rule set: " + join(rule_names(), ", ") +
                           ", or a TOML file (default: minigolf; of --log: parameter-golf-10min-16mb)");
        app.add_option("--code", options->request.code, "Code files that are shipped with an artifact");
        app.add_option("--tokenizer", options->request.tokenizer, kAuditTokenizerHelp);
        app.add_option("--source", options->request.source,
                       "Source tree of par5, to count its own code (default: where this program was built)");
        auto* yes =
            app.add_flag("--count-tokenizer", options->count_tokenizer, "Count the tokenizer, whatever the rules say");
        app.add_flag("--no-count-tokenizer", options->no_count_tokenizer, "Do not count it")->excludes(yes);
        app.add_flag("--streams", options->streams, "List every stream inside the artifacts");
        app.add_flag("--allow-unknown", options->allow_unknown, "Exit 0 on an unknown verdict too");
        add_ledger_audit_options(app, options->ledger);
        add_log_audit_options(app, options->logs);
        app.add_option("--probes", options->probes,
                       "Audit this report of `par5 eval --probe --json`; with --model, whether it is of that model");
        return [options](const CommonOptions& common) { return run(*options, common); };
      }};
}

}  // namespace par5
