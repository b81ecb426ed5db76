// The exact engine's learner against LibTorch's: the same kinds, windows and steps, scores that differ by rounding
// only.
#include <gtest/gtest.h>

#include "eval/engine_scorer.h"
#include "eval/exact_learner.h"
#include "eval/online.h"
#include "eval/torch/torch_learner.h"
#include "small_model.h"

namespace par5 {
namespace {

constexpr double kZLoss = 1e-3;

ScoreRow by_torch(const StoredModel& stored, const EvalData& data, ModeKind kind, const EvalSettings& options) {
  const auto scorer = make_scorer(stored);
  if (kind == ModeKind::online) {
    const auto adapter = OnlineAdapter::create(*scorer, options.online).value();
    return run_mode(data, {kind}, options, *adapter, adapter.get()).value();
  }
  const auto learner = TorchLearner::create(scorer->network(), torch_learner_options(kind, options, kZLoss)).value();
  return run_mode(data, {kind}, options, *scorer, learner.get()).value();
}

ScoreRow by_engine(const StoredModel& stored, const EvalData& data, ModeKind kind, const EvalSettings& options) {
  const auto learner =
      ExactLearner::create(stored, {Arithmetic::fp32, "", 1}, kind, options.learning(kind), kZLoss, 1.0).value();
  EngineScorer scorer(learner->engine(), 1.0);
  return run_mode(data, {kind}, options, scorer, learner.get()).value();
}

TEST(ExactAgreement, EveryKindScoresAsLibTorchsLearner) {
  const StoredModel stored = random_model(30);
  const EvalData data = random_data(300, 31);
  EvalSettings options = settings(16, 8, 256);
  options.ttt_model = model_learning();
  options.ttt_model.chunk_tokens = 40;
  options.ttt_model.momentum = 0.5;
  options.ttt_model.matrix_factor = options.ttt_model.calibration_factor = 0.5;
  options.ttt_model.lr = 0.005;
  options.ttt.clip = 0.1;
  for (const ModeKind kind : {ModeKind::ttt_scalars, ModeKind::ttt_model, ModeKind::ttt_phased, ModeKind::online}) {
    const ScoreRow torch = by_torch(stored, data, kind, options), exact = by_engine(stored, data, kind, options);
    EXPECT_EQ(exact.updates, torch.updates) << mode_name({kind});
    EXPECT_EQ(exact.adapted_values, torch.adapted_values) << mode_name({kind});
    EXPECT_GT(exact.updates, 0) << mode_name({kind});
    EXPECT_NEAR(exact.nats, torch.nats, 1e-5 * torch.nats) << mode_name({kind});
    for (std::int64_t t = 1; t <= torch.targets; ++t)
      ASSERT_NEAR(exact.target_nats(t), torch.target_nats(t), 1e-3) << mode_name({kind}) << " target " << t;
    const auto scorer = make_scorer(stored);
    const ScoreRow still = run_mode(data, {ModeKind::sliding}, options, *scorer, nullptr).value();
    EXPECT_GT(std::abs(still.nats - torch.nats), 1e-3 * torch.nats) << mode_name({kind}) << " learns nothing here";
  }
}

}  // namespace
}  // namespace par5
