#include "cli/exact_rescore.h"

#include "eval/engine_scorer.h"
#include "eval/exact_learner.h"

namespace par5 {

Result<LedgerSample> rescore_exactly(const RescoreRequest& request, std::size_t threads) {
  const LedgerDeclaration& declared = request.declared;
  EngineOptions engine{Arithmetic::fp32, {}, threads};
  constexpr std::string_view kExact = "exact ";
  if (declared.engine.starts_with(kExact)) {
    P5_TRY(engine.arithmetic, arithmetic_from_name(declared.engine.substr(kExact.size())));
  }
  if (!mode_learns(request.mode)) {
    P5_TRY(const std::unique_ptr<EngineScorer> scorer,
           EngineScorer::create(request.model.stored, engine, declared.temperature));
    return rescore_blocks(request.ledger, request.data, *scorer, request.sample);
  }
  const TttConfig& learning = request.learning.learning(request.mode.kind);
  if (const Status possible = check_exact_learning(request.mode.kind, learning); !possible) {
    LedgerSample sample;
    sample.check = {"rescored", Verdict::unknown, possible.error().message};
    return sample;
  }
  P5_TRY(const std::unique_ptr<ExactLearner> learner,
         ExactLearner::create(request.model.stored, engine, request.mode.kind, learning, request.config.train.z_loss,
                              declared.temperature));
  EngineScorer scorer(learner->engine(), declared.temperature);
  return rescore_blocks(request.ledger, request.data, scorer, request.sample, learner.get());
}

}  // namespace par5
