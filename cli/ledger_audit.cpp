#include "cli/ledger_audit.h"

#include "core/hash.h"
#include "core/text.h"
#include "eval/ledger_audit.h"

namespace par5 {
namespace {

using Json = nlohmann::ordered_json;

Json report_of(const LedgerAudit& audit) {
  Json report;
  report["verdict"] = verdict_name(audit.verdict);
  report["first_violation"] = audit.first_violation.empty() ? Json(nullptr) : Json(audit.first_violation);
  report["ledger_sha256"] = audit.head;
  report["sealed"] = audit.sealed;
  if (audit.declaration) {
    report["mode"] = audit.declaration->mode;
    report["engine"] = audit.declaration->engine;
    report["model_sha256"] = audit.declaration->model_sha256;
    report["data_sha256"] = audit.declaration->data_sha256;
    report["dropped_targets"] = audit.declaration->dropped_targets;
  }
  report["targets"] = audit.found.targets;
  report["bytes"] = audit.found.bytes;
  report["bpb"] = audit.found.bytes > 0 ? Json(audit.found.bpb()) : Json(nullptr);
  report["updates"] = audit.found.updates;
  report["blocks"] = audit.blocks;
  report["file_bytes"] = audit.file_bytes;
  report["checks"] = Json::array();
  for (const AuditCheck& check : audit.checks)
    report["checks"].push_back(
        {{"id", check.id}, {"verdict", verdict_name(check.verdict)}, {"evidence", check.evidence}});
  report["proves"] = ledger_audit_proves(audit);
  report["leaves_open"] = ledger_audit_leaves_open(audit);
  return report;
}

std::string text_of(const LedgerAudit& audit) {
  std::string text;
  if (audit.declaration)
    text += audit.declaration->mode + ", window " + std::to_string(audit.declaration->window) + ", stride " +
            std::to_string(audit.declaration->stride) + ", engine " + audit.declaration->engine + "; head hash " +
            audit.head + "\n";
  for (const AuditCheck& check : audit.checks) {
    const std::string verdict(verdict_name(check.verdict));
    text += verdict + std::string(9 - verdict.size(), ' ') + check.id + ": " + check.evidence + "\n";
  }
  if (!audit.first_violation.empty()) text += "first violation  " + audit.first_violation + "\n";
  for (const std::string& line : ledger_audit_proves(audit)) text += "proves     " + line + "\n";
  for (const std::string& line : ledger_audit_leaves_open(audit)) text += "not proved " + line + "\n";
  return text + "verdict  " + std::string(verdict_name(audit.verdict)) + "\n";
}

// The ledger's model on the ledger's data, in its declared mode.
Result<LedgerSample> rescore_ledger(std::span<const std::byte> ledger, const LedgerDeclaration& declared,
                                    const LedgerAuditOptions& options, const CommonOptions& common,
                                    const std::function<Result<EvalData>()>& load_data, const Rescore& rescore) {
  const EvalOptions& evaluation = options.evaluation;
  LedgerSample sample;
  sample.check.id = "rescored";
  P5_TRY(const std::string model_sha256, sha256_hex_of_file(evaluation.model));
  if (model_sha256 != declared.model_sha256) {
    sample.check.verdict = Verdict::fail;
    sample.check.evidence = "the ledger is of another model (" + declared.model_sha256.substr(0, 12) + "…) than '" +
                            evaluation.model + "' (" + model_sha256.substr(0, 12) + "…)";
    return sample;
  }
  P5_TRY(const EvalData data, load_data());
  P5_TRY(const EvalModel model,
         load_eval_model(evaluation.model, evaluation.config, evaluation.assignments, common.threads));
  P5_OK(check_vocabulary(data, model.stored.model.vocab, model.tokenizer_sha256));
  P5_TRY(const Mode mode, mode_from_name(declared.mode));
  P5_TRY(const Config config, eval_config(evaluation));
  P5_TRY(const EvalSettings learning, eval_settings(evaluation, config, model.stored.model));
  LedgerSampleSettings settings;
  settings.blocks = evaluation.sample;
  settings.first_targets = evaluation.max_targets;
  settings.seed = options.seed;
  return rescore({ledger, declared, data, model, mode, config, learning, settings});
}

}  // namespace

void add_ledger_audit_options(CLI::App& app, LedgerAuditOptions& options) {
  EvalOptions& evaluation = options.evaluation;
  evaluation.engine = "exact";
  evaluation.sample = 4;
  CLI::Option* file = app.add_option("--ledger", options.file, "Audit this score ledger instead of an artifact");
  app.add_option("--head", options.head, "The head hash that was published with the ledger")->needs(file);
  app.add_option("--model", evaluation.model, "Score some blocks of the ledger anew with this model");
  app.add_option("--data", evaluation.data, "The shards or text that were scored")->needs(file);
  app.add_option("--shards", evaluation.shards, kShardsHelp)->group("")->needs(file);
  app.add_option("--engine", evaluation.engine,
                 "What scores and learns anew: exact (default), or torch, which ttt:lora and steps of adamw need")
      ->needs(file)
      ->check(CLI::IsMember({"torch", "exact"}));
  app.add_option(
         "--config", evaluation.config,
         "TOML file: the settings of an evaluation that learned; the architecture of a checkpoint that does not say it")
      ->needs(file);
  app.add_option("--set", evaluation.assignments, "section.key=value as in the evaluation, overrides the file")
      ->needs(file);
  app.add_option("--sample", evaluation.sample, "Blocks of 32,768 targets to score anew (default: 4)")
      ->needs(file)
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 40));
  app.add_option("--max-targets", evaluation.max_targets,
                 "Draw blocks among the first N targets: where the mode learns, everything before a block is run again")
      ->needs(file)
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 40));
  app.add_option("--seed", options.seed, "Which blocks are drawn (default: 1)")->needs(file);
}

Result<Outcome> run_ledger_audit(const LedgerAuditOptions& options, const CommonOptions& common,
                                 const std::function<Result<EvalData>()>& load_data, const Rescore& rescore) {
  P5_TRY(const MappedFile file, MappedFile::open(options.file));
  LedgerAudit audit = audit_ledger(file.bytes(), options.head);
  std::optional<LedgerSample> sample;
  if (!options.evaluation.model.empty() && audit.declaration) {
    P5_TRY(sample, rescore_ledger(file.bytes(), *audit.declaration, options, common, load_data, rescore));
    audit.checks.push_back(sample->check);
    if (sample->check.verdict == Verdict::fail && audit.first_violation.empty())
      audit.first_violation = sample->check.evidence;
    audit.verdict = overall(audit.checks);
  }
  Outcome outcome;
  outcome.report = report_of(audit);
  if (sample)
    outcome.report["sample"] = {{"blocks", sample->blocks},
                                {"targets", sample->targets},
                                {"seed", options.seed},
                                {"bit_exact", sample->bit_exact},
                                {"run_targets", sample->run_targets},
                                {"run_updates", sample->run_updates},
                                {"mean_difference", sample->mean_difference},
                                {"largest_difference", sample->largest_difference}};
  outcome.text = text_of(audit);
  outcome.status = audit.verdict == Verdict::pass ? 0 : exit_status(ErrorCode::check_failed);
  return outcome;
}

}  // namespace par5
