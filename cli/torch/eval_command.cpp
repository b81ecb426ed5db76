#include "cli/eval_options.h"
#include "cli/torch/torch_commands.h"
#include "core/log.h"
#include "core/text.h"
#include "eval/model_file.h"
#include "eval/report.h"
#include "eval/torch/torch_scorer.h"
#include "model/runtime.h"

namespace par5 {
namespace {

Result<Outcome> run(const EvalOptions& options, const CommonOptions& common) {
  P5_TRY(const std::vector<Mode> modes, eval_modes(options));
  P5_TRY(const Config config, eval_config(options));
  P5_TRY(const EvalData data, load_eval_data(options.data, options.max_targets));
  P5_TRY(const EvalModel model, load_eval_model(options.model, options.config, options.assignments, common.threads));
  P5_OK(check_vocabulary(data, model.stored.model.vocab, model.tokenizer_sha256));

  P5_TRY(const EvalSettings settings, eval_settings(options, config, model.stored.model));
  set_threads(static_cast<int>(common.threads));
  log_debug(to_string(describe_runtime()));
  TorchScorerOptions scorer_options;
  scorer_options.precision = config.eval.precision;
  scorer_options.temperature = model.temperature;
  scorer_options.ttt = config.ttt;
  scorer_options.z_loss = config.train.z_loss;
  P5_TRY(const std::unique_ptr<TorchScorer> scorer, TorchScorer::create(model.stored, scorer_options));

  std::vector<ScoreRow> rows;
  for (const Mode& mode : modes) {
    P5_TRY(ScoreRow row, run_mode(data, mode, settings, *scorer, scorer.get()));
    rows.push_back(std::move(row));
  }
  Outcome outcome;
  outcome.report = eval_json(rows);
  outcome.report["temperature"] = model.temperature;
  outcome.report["kernel"] = describe_runtime().cpu_capability;
  outcome.text = eval_text(rows, data);
  return outcome;
}

}  // namespace

Command torch_eval_command() {
  return {"eval", kEvalSummary, kEvalExamples, [](CLI::App& app) -> Runner {
            auto options = std::make_shared<EvalOptions>();
            add_eval_options(app, *options);
            return [options](const CommonOptions& common) { return run(*options, common); };
          }};
}

}  // namespace par5
