#include "eval/exact_learner.h"

#include "eval/learning.h"

namespace par5 {

Status check_exact_learning(ModeKind kind, const TttConfig& learning) {
  if (kind == ModeKind::ttt_lora)
    return usage_error(
        "the exact learner changes weights or the output; the low-rank factors of ttt:lora need --engine torch",
        "--mode");
  if (learning.optimizer == TttOptimizer::adamw)
    return usage_error("the exact learner takes steps of sgd or lars; adamw needs --engine torch");
  if (kind == ModeKind::online && learning.optimizer != TttOptimizer::sgd)
    return usage_error("online adaptation learns by sgd alone", "online.optimizer");
  return {};
}

LearnerOptions exact_learner_options(ModeKind kind, const TttConfig& learning, double z_loss, double temperature) {
  LearnerOptions options;
  const Adaptation adaptation = adaptation_of(kind);
  options.rate_factor = [adaptation, learning](const TensorSpec& spec) {
    return rate_factor(spec, adaptation, learning, {});
  };
  options.output = adaptation == Adaptation::output;
  options.temperature = temperature;
  options.rule = learning.optimizer == TttOptimizer::lars ? StepRule::lars : StepRule::sgd;
  options.momentum = learning.momentum;
  options.clip = learning.clip;
  options.decay = learning.decay;
  options.z_loss = z_loss;
  return options;
}

Result<std::unique_ptr<ExactLearner>> ExactLearner::create(const StoredModel& stored, const EngineOptions& engine,
                                                           ModeKind kind, const TttConfig& learning, double z_loss,
                                                           double temperature) {
  P5_OK(check_exact_learning(kind, learning));
  P5_TRY(EngineLearner learner,
         EngineLearner::create(stored, engine, exact_learner_options(kind, learning, z_loss, temperature)));
  return std::unique_ptr<ExactLearner>(
      new ExactLearner(std::move(learner), learner_description(adaptation_of(kind), learning, {}, z_loss)));
}

Status ExactLearner::step(const ScoredWindows& windows, double learning_rate) {
  if (learning_rate == 0) return {};
  P5_OK(learner_.step(windows.inputs(), windows.targets(), windows.windows(), learning_rate));
  return {};
}

}  // namespace par5
