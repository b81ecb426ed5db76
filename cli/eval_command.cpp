#include "cli/commands.h"
#include "cli/eval_options.h"
#include "cli/eval_outcome.h"
#include "cli/model_tokenizer.h"
#include "cli/probe_report.h"
#include "cli/text_shards.h"
#include "cli/torch_front.h"
#include "eval/approximate.h"
#include "eval/engine_scorer.h"
#include "eval/exact_learner.h"
#include "eval/model_file.h"
#include "eval/self_test.h"
#include "eval/stream_scorer.h"

namespace par5 {
namespace {

// One mode by the exact engine: `engine` computes what does not learn, a learner of its own what does.
Result<ScoreRow> run_exact_mode(const EvalData& data, const EvalModel& model, const Mode& mode,
                                const EvalSettings& settings, double z_loss, std::int64_t sample,
                                const EngineOptions& options, Engine& engine) {
  const double temperature = mode.unit_temperature ? 1.0 : model.temperature;
  if (mode_learns(mode)) {
    P5_TRY(const std::unique_ptr<ExactLearner> learner,
           ExactLearner::create(model.stored, options, mode.kind, settings.learning(mode.kind), z_loss, temperature));
    EngineScorer scorer(learner->engine(), temperature);
    return run_mode(data, mode, settings, scorer, learner.get());
  }
  EngineScorer scorer(engine, temperature);
  if (!mode_approximates(mode)) return run_mode(data, mode, settings, scorer, nullptr);
  if (!mode.stream) return run_approximate(data, mode, settings, scorer, scorer, sample);
  P5_TRY(const std::unique_ptr<StreamScorer> stream, StreamScorer::create(scorer, settings.window));
  return run_approximate(data, mode, settings, *stream, scorer, sample);
}

// Scores by the exact engine, in this process.
Result<Outcome> run_exact(const EvalOptions& options, const CommonOptions& common, std::vector<Mode> modes,
                          const std::string& shards) {
  P5_TRY(const Config config, eval_config(options));
  P5_TRY(const auto breakdown, asked_breakdown(options, common));
  P5_TRY(const EvalData data, load_eval_data(shards, options.max_targets));
  P5_TRY(const EvalModel model, load_eval_model(options.model, options.config, options.assignments, common.threads));
  P5_OK(check_vocabulary(data, model.stored.model.vocab, model.tokenizer_sha256));
  P5_TRY(EvalSettings settings, eval_settings(options, config, model.stored.model));
  if (const auto version = arithmetic_version(model.extras); !version) return tl::unexpected(version.error());
  EngineOptions engine_options{Arithmetic::fp32, options.kernel, common.threads};
  P5_TRY(engine_options.arithmetic, arithmetic_from_name(options.arithmetic));
  const auto check = [&settings](const Mode& mode) {
    return mode_learns(mode) ? check_exact_learning(mode.kind, settings.learning(mode.kind)) : Status();
  };
  if (options.ladder) {
    modes = ladder_modes(count_parameters(model.stored.model).calibration > 0, model.temperature != 1.0);
    std::erase_if(modes, [&](const Mode& mode) { return !check(mode); });
  }
  for (const Mode& mode : modes) P5_OK(check(mode));
  P5_TRY(Engine engine, Engine::create(model.stored, engine_options));
  if (options.probe) {
    EngineScorer scorer(engine, model.temperature);
    P5_TRY(const ProbeReport probe, probe_causality(data, scorer, {settings.window, options.probe_windows}));
    return probe_outcome(probe, scorer.name(), options.model, data, settings.window);
  }

  std::vector<ScoreRow> rows;
  for (const Mode& mode : modes) {
    const double temperature = mode.unit_temperature ? 1.0 : model.temperature;
    P5_TRY(settings.ledger, ledger_options(options, common, mode, modes.size(), temperature));
    P5_TRY(ScoreRow row,
           run_exact_mode(data, model, mode, settings, config.train.z_loss, options.sample, engine_options, engine));
    rows.push_back(std::move(row));
  }
  P5_TRY(Outcome outcome, eval_outcome(rows, data, model, breakdown, options, common));
  outcome.report["arithmetic"] = arithmetic_name(engine.arithmetic());
  outcome.report["arithmetic_version"] = kArithmeticVersion;
  outcome.report["kernel"] = engine.kernel();
  return outcome;
}

Result<Outcome> run(const EvalOptions& options, const CommonOptions& common) {
  P5_TRY(const std::vector<Mode> modes, eval_modes(options));
  const bool exact = options.engine == "exact";
  if (exact) {
    P5_OK(arithmetic_from_name(options.arithmetic));
  } else if (!options.kernel.empty() || options.arithmetic != "fp32") {
    return usage_error("--arithmetic and --kernel belong to --engine exact");
  }
  if (!exact && (is_shard_folder(options.data) || !torch_is_built())) return tl::unexpected(hand_over_to_torch());
  P5_TRY(const TextShards shards, model_shards(options.data, options.model, options.tokenizer, common.threads));
  if (exact) return run_exact(options, common, modes, shards.folder());
  P5_TRY(const int status, run_torch_on_shards("eval", shards.folder()));
  return Outcome{nullptr, "", status};
}

}  // namespace

Command eval_command() {
  return {"eval", kEvalSummary, kEvalExamples, [](CLI::App& app) -> Runner {
            auto options = std::make_shared<EvalOptions>();
            add_eval_options(app, *options);
            return [options](const CommonOptions& common) { return run(*options, common); };
          }};
}

}  // namespace par5
