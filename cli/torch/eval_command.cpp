#include "cli/eval_options.h"
#include "cli/eval_outcome.h"
#include "cli/probe_report.h"
#include "cli/torch/mode_learner.h"
#include "cli/torch/torch_commands.h"
#include "core/log.h"
#include "core/text.h"
#include "eval/approximate.h"
#include "eval/model_file.h"
#include "model/runtime.h"

namespace par5 {
namespace {

Result<ScoreRow> run_one(const EvalData& data, const Mode& mode, const EvalSettings& settings, double z_loss,
                         TorchScorer& scorer, std::int64_t sample) {
  if (mode.stream)
    return usage_error(mode_name(mode) + " keeps keys and values from window to window, which only --engine exact does",
                       "--mode");
  if (mode_approximates(mode)) return run_approximate(data, mode, settings, scorer, scorer, sample);
  return with_torch_learner(mode, settings, z_loss, scorer, [&](Scorer& mode_scorer, Learner* learner) {
    return run_mode(data, mode, settings, mode_scorer, learner);
  });
}

Result<Outcome> run(const EvalOptions& options, const CommonOptions& common) {
  P5_TRY(std::vector<Mode> modes, eval_modes(options));
  P5_TRY(const Config config, eval_config(options));
  P5_TRY(const auto breakdown, asked_breakdown(options, common));
  P5_TRY(const EvalData data,
         load_eval_data(options.shards.empty() ? options.data : options.shards, options.max_targets));
  P5_TRY(const EvalModel model, load_eval_model(options.model, options.config, options.assignments, common.threads));
  P5_OK(check_vocabulary(data, model.stored.model.vocab, model.tokenizer_sha256));

  P5_TRY(EvalSettings settings, eval_settings(options, config, model.stored.model));
  set_threads(static_cast<int>(common.threads));
  log_debug(to_string(describe_runtime()));
  TorchScorerOptions scorer_options;
  scorer_options.precision = config.eval.precision;
  scorer_options.temperature = model.temperature;
  P5_TRY(const std::unique_ptr<TorchScorer> scorer, TorchScorer::create(model.stored, scorer_options));
  if (options.probe) {
    P5_TRY(const ProbeReport probe, probe_causality(data, *scorer, {settings.window, options.probe_windows}));
    return probe_outcome(probe, scorer->name(), options.model, data, settings.window);
  }

  if (options.ladder)
    modes = ladder_modes(count_parameters(model.stored.model).calibration > 0, model.temperature != 1.0);
  std::vector<ScoreRow> rows;
  for (const Mode& mode : modes) {
    const double temperature = mode.unit_temperature ? 1.0 : model.temperature;
    scorer->set_temperature(temperature);
    P5_TRY(settings.ledger, ledger_options(options, common, mode, modes.size(), temperature));
    P5_TRY(ScoreRow row, run_one(data, mode, settings, config.train.z_loss, *scorer, options.sample));
    rows.push_back(std::move(row));
  }
  P5_TRY(Outcome outcome, eval_outcome(rows, data, model, breakdown, options, common));
  outcome.report["kernel"] = describe_runtime().cpu_capability;
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
