#include "eval/torch/torch_scorer.h"

#include <gtest/gtest.h>

#include <cmath>

#include "eval/plan.h"
#include "small_model.h"

namespace par5 {
namespace {

TEST(TorchScorer, EveryModeAgreesWithOneWindowPerTarget) {
  const StoredModel stored = random_model(1);
  const auto scorer = make_scorer(stored);
  const EvalData data = random_data(90, 2);
  const std::span<const std::uint16_t> tokens = data.tokens;
  for (const Mode& mode : {Mode{ModeKind::chunked}, Mode{ModeKind::sliding}, Mode{ModeKind::document}})
    for (const std::int64_t batch_tokens : {1, 40, 1000}) {
      const auto row = run_mode(data, mode, settings(12, 5, batch_tokens), *scorer, nullptr);
      ASSERT_TRUE(row);
      std::vector<Window> plan;
      if (mode.kind == ModeKind::document)
        plan = *document_plan(tokens, 90, data.bos, 12, 12);
      else
        plan = *sliding_plan(90, 12, mode.kind == ModeKind::chunked ? 12 : 5);
      for (const Window& window : plan)
        for (std::int64_t t = window.first_target(); t < window.end_target(); ++t) {
          const auto logs = distribution(*scorer, tokens.subspan(static_cast<std::size_t>(window.start),
                                                                 static_cast<std::size_t>(t - window.start)));
          EXPECT_NEAR(row->target_nats(t), -logs[tokens[static_cast<std::size_t>(t)]], 1e-5);
        }
    }
}

TEST(TorchScorer, RowsAreDistributionsAndTemperatureSharpens) {
  const StoredModel stored = random_model(3);
  const auto plain = make_scorer(stored);
  TorchScorerOptions options;
  options.temperature = 0.5;
  const auto sharp = make_scorer(stored, options);
  const std::vector<std::uint16_t> context = {1, 5, 9, 30};
  const auto p = distribution(*plain, context), q = distribution(*sharp, context);
  double sum = 0, squares = 0;
  for (const float log : p) sum += std::exp(log), squares += std::exp(2.0 * log);
  EXPECT_NEAR(sum, 1, 1e-5);
  for (std::size_t i = 0; i < p.size(); ++i) EXPECT_NEAR(q[i], 2 * p[i] - std::log(squares), 1e-4);
  options.temperature = 0;
  EXPECT_FALSE(TorchScorer::create(stored, options));
}

TEST(TorchScorer, Bfloat16IsNear) {
  const StoredModel stored = random_model(10);
  TorchScorerOptions options;
  options.precision = Precision::bfloat16;
  const EvalData data = random_data(64, 11);
  const auto exact = run_mode(data, {ModeKind::chunked}, settings(16, 4, 256), *make_scorer(stored), nullptr);
  const auto rounded =
      run_mode(data, {ModeKind::chunked}, settings(16, 4, 256), *make_scorer(stored, options), nullptr);
  ASSERT_TRUE(exact && rounded);
  EXPECT_EQ(rounded->engine, "torch bfloat16");
  EXPECT_NEAR(rounded->bpb(), exact->bpb(), 0.02 * exact->bpb());
}

}  // namespace
}  // namespace par5
