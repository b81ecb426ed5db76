#include "cli/ledger_audit.h"
#include "cli/torch/mode_learner.h"
#include "cli/torch/torch_commands.h"
#include "model/runtime.h"

namespace par5 {
namespace {

// In float32 where the ledger is of another engine.
Result<LedgerSample> rescore_by_torch(const RescoreRequest& request) {
  TorchScorerOptions options;
  options.precision = request.declared.engine == "torch bfloat16" ? Precision::bfloat16 : Precision::float32;
  options.temperature = request.declared.temperature;
  P5_TRY(std::unique_ptr<TorchScorer> scorer, TorchScorer::create(request.model.stored, options));
  return with_torch_learner(request.mode, request.learning, request.config.train.z_loss, *scorer,
                            [&](Scorer& mode_scorer, Learner* learner) {
                              return rescore_blocks(request.ledger, request.data, mode_scorer, request.sample, learner);
                            });
}

Result<Outcome> run(const LedgerAuditOptions& options, const CommonOptions& common) {
  const EvalOptions& evaluation = options.evaluation;
  if (options.file.empty() || evaluation.model.empty() || evaluation.data.empty())
    return usage_error("LibTorch audits a ledger with its model: it takes --ledger, --model and --data");
  set_threads(static_cast<int>(common.threads));
  const auto load_data = [&] {
    return load_eval_data(evaluation.shards.empty() ? evaluation.data : evaluation.shards, 0);
  };
  return run_ledger_audit(options, common, load_data, rescore_by_torch);
}

}  // namespace

Command torch_audit_command() {
  return {"audit", "Score some blocks of a score ledger anew on LibTorch's network", kLedgerAuditExamples,
          [](CLI::App& app) -> Runner {
            auto options = std::make_shared<LedgerAuditOptions>();
            add_ledger_audit_options(app, *options);
            app.add_option("--tokenizer", options->evaluation.tokenizer, kAuditTokenizerHelp);
            return [options](const CommonOptions& common) { return run(*options, common); };
          }};
}

}  // namespace par5
