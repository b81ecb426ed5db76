#include "eval/online.h"

#include <gtest/gtest.h>

#include <cmath>

#include "eval/broker.h"
#include "eval/plan.h"
#include "fake_model.h"

namespace par5 {
namespace {

constexpr std::int64_t kVocab = 12;

// A text with a skew that the fake model knows nothing of.
std::vector<std::uint16_t> skewed_tokens(std::int64_t targets) {
  std::vector<std::uint16_t> tokens = {1};
  for (std::int64_t i = 0; i < targets; ++i) tokens.push_back(static_cast<std::uint16_t>(i % 3 == 0 ? 7 : 2 + i % 5));
  return tokens;
}

TttConfig online_settings() {
  TttConfig online = online_learning();
  online.momentum = 0.5;
  return online;
}

double score_and_learn(Scorer& scorer, Learner* learner, double rate) {
  const std::int64_t targets = 240;
  auto broker = *TokenBroker::create(skewed_tokens(targets), targets);
  const auto plan = *chunked_plan(targets, 8);
  for (std::size_t w = 0; w < plan.size(); ++w) {
    EXPECT_TRUE(broker.score(scorer, std::span(plan).subspan(w, 1), 8, nullptr));
    if (learner) {
      EXPECT_TRUE(broker.learn(*learner, plan[w].first_target(), 1, 8, rate));
    }
  }
  return ledger_nats(broker.ledger().total_units());
}

TEST(OnlineAdapter, RateZeroIsTheInnerScorerAndLearningHelpsOnSkewedText) {
  FakeModel model(kVocab);
  const auto adapter = *OnlineAdapter::create(model, online_settings());
  const double plain = score_and_learn(model, nullptr, 0);
  EXPECT_EQ(score_and_learn(*adapter, adapter.get(), 0.0), plain);
  EXPECT_LT(score_and_learn(*adapter, adapter.get(), 0.5), plain - 1);
  adapter->reset();
  EXPECT_EQ(score_and_learn(*adapter, nullptr, 0), plain);
}

// One step against the gradient by finite differences of -log p' in the definition's own words.
TEST(OnlineAdapter, AStepFollowsTheGradient) {
  FakeModel model(kVocab);
  TttConfig online = online_learning();
  online.momentum = 0;
  const auto adapter = *OnlineAdapter::create(model, online);
  const std::vector<std::uint16_t> tokens = skewed_tokens(8);
  auto broker = *TokenBroker::create(tokens, 8);
  ASSERT_TRUE(broker.score(*adapter, *chunked_plan(8, 8), 8, nullptr));
  const double rate = 0.25;
  ASSERT_TRUE(broker.learn(*adapter, 1, 1, 8, rate));

  const auto loss = [&](const std::vector<double>& values) {
    double sum = 0;
    for (std::size_t p = 0; p < 8; ++p) {
      const std::vector<float> logs = model.predict(std::span(tokens).first(p + 1));
      double total = 0;
      for (std::size_t v = 0; v < logs.size(); ++v) total += std::exp((1 + values.back()) * logs[v] + values[v]);
      const std::uint16_t target = tokens[p + 1];
      sum += std::log(total) - (1 + values.back()) * logs[target] - values[target];
    }
    return sum / 8;
  };
  std::vector<double> stepped(kVocab + 1, 0.0);
  for (std::size_t i = 0; i < stepped.size(); ++i) {
    std::vector<double> up(kVocab + 1, 0.0), down = up;
    up[i] = 1e-5;
    down[i] = -1e-5;
    stepped[i] = -rate * (loss(up) - loss(down)) / 2e-5;
  }
  // What the adapter predicts now, against p' with the stepped values.
  const std::vector<PositionRange> wanted = {{0, 8}};
  const Status status =
      adapter->score({std::span(tokens).first(8), 8, wanted, 0},
                     [&](std::int64_t first, std::int64_t rows, std::span<const float> adapted) -> Status {
                       for (std::int64_t r = 0; r < rows; ++r) {
                         const std::vector<float> logs =
                             model.predict(std::span(tokens).first(static_cast<std::size_t>(first + r) + 1));
                         double total = 0;
                         for (std::size_t v = 0; v < logs.size(); ++v)
                           total += std::exp((1 + stepped.back()) * logs[v] + stepped[v]);
                         for (std::size_t v = 0; v < logs.size(); ++v)
                           EXPECT_NEAR(adapted[static_cast<std::size_t>(r) * kVocab + v],
                                       (1 + stepped.back()) * logs[v] + stepped[v] - std::log(total), 1e-5);
                       }
                       return {};
                     });
  EXPECT_TRUE(status);
}

TEST(OnlineAdapter, StateGoesOnWhereItWasTakenAndRefusesOthers) {
  FakeModel model(kVocab);
  const auto one = *OnlineAdapter::create(model, online_settings()),
             two = *OnlineAdapter::create(model, online_settings());
  score_and_learn(*one, one.get(), 0.5);
  const auto state = *one->state();
  ASSERT_TRUE(two->restore(state));
  EXPECT_EQ(score_and_learn(*one, one.get(), 0.5), score_and_learn(*two, two.get(), 0.5));
  EXPECT_EQ(two->restore(std::span(state).first(8)).error().code, ErrorCode::bad_data);
  TttConfig adam = online_settings();
  adam.optimizer = TttOptimizer::adamw;
  EXPECT_EQ(OnlineAdapter::create(model, adam).error().code, ErrorCode::usage);
}

}  // namespace
}  // namespace par5
