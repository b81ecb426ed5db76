// Rounds of test-time training: what is scored before what is learnt from.
#include "eval/ttt.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "eval/plan.h"
#include "fake_model.h"

namespace par5 {
namespace {

constexpr std::uint16_t kBos = 1;

std::vector<std::uint16_t> random_tokens(std::int64_t targets, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<std::uint16_t> tokens = {kBos};
  while (static_cast<std::int64_t>(tokens.size()) <= targets)
    tokens.push_back(random() % 15 == 0 ? kBos : static_cast<std::uint16_t>(2 + random() % 8));
  return tokens;
}

// Plays the rounds through on a bitmap: every window once and in order, and nothing learnt before it is scored.
void expect_order(const std::vector<TttRound>& rounds, const std::vector<Window>& plan, std::int64_t targets) {
  std::vector<bool> scored(static_cast<std::size_t>(targets) + 1, false);
  std::size_t next = 0;
  for (const TttRound& round : rounds) {
    ASSERT_EQ(round.first_window, next);
    for (; next < round.end_window; ++next)
      for (std::int64_t t = plan[next].first_target(); t < plan[next].end_target(); ++t) {
        ASSERT_FALSE(scored[static_cast<std::size_t>(t)]);
        scored[static_cast<std::size_t>(t)] = true;
      }
    for (const TttStep& step : round.steps)
      for (std::int64_t t = step.first_target; t < step.first_target + step.windows * step.length; ++t)
        ASSERT_TRUE(t >= 1 && t <= targets && scored[static_cast<std::size_t>(t)]) << t;
  }
  EXPECT_EQ(next, plan.size());
  EXPECT_EQ(std::count(scored.begin() + 1, scored.end(), true), targets);
}

// How often each target is learnt from in one epoch.
std::vector<int> uses(const std::vector<TttRound>& rounds, std::int64_t targets) {
  std::vector<int> counts(static_cast<std::size_t>(targets) + 1, 0);
  for (const TttRound& round : rounds)
    for (const TttStep& step : round.steps)
      for (std::int64_t t = step.first_target; t < step.first_target + step.windows * step.length; ++t)
        ++counts[static_cast<std::size_t>(t)];
  return counts;
}

TEST(TttRounds, AnyRequestLearnsOnlyFromWhatIsScored) {
  std::mt19937 random(1);
  for (int trial = 0; trial < 300; ++trial) {
    const std::int64_t targets = 1 + static_cast<std::int64_t>(random() % 200);
    const std::int64_t window = 1 + static_cast<std::int64_t>(random() % 20);
    const std::int64_t stride = 1 + static_cast<std::int64_t>(random() % 1000) % window;
    const std::vector<std::uint16_t> tokens = random_tokens(targets, static_cast<unsigned>(random()));
    PhasedConfig phased;
    phased.documents = 1 + random() % 5;
    phased.phases = 1 + random() % 4;
    TttConfig ttt;
    ttt.chunk_tokens = 1 + random() % 60;
    ttt.batch_windows = 1 + random() % 4;
    const auto sliding = *sliding_plan(targets, window, stride);
    const auto documents = *document_plan(tokens, targets, kBos, window, stride);
    expect_order(*chunk_rounds(sliding, targets, window, ttt), sliding, targets);
    expect_order(*phase_rounds(sliding, tokens, targets, kBos, window, phased), sliding, targets);
    for (const bool carry : {false, true})
      expect_order(*document_rounds(documents, tokens, targets, kBos, window, ttt, carry), documents, targets);
  }
}

TEST(TttRounds, EveryTargetOfAChunkIsLearntFromOnce) {
  TttConfig ttt;
  ttt.chunk_tokens = 20;
  ttt.batch_windows = 2;
  const auto plan = *sliding_plan(50, 8, 4);
  const auto rounds = *chunk_rounds(plan, 50, 8, ttt);
  ASSERT_EQ(rounds.size(), 3u);
  EXPECT_EQ(rounds[0].steps, (std::vector<TttStep>{{1, 2, 8}, {17, 1, 4}}));
  EXPECT_EQ(rounds[1].steps, (std::vector<TttStep>{{21, 2, 8}, {37, 1, 4}}));
  EXPECT_TRUE(rounds[2].steps.empty());
  const std::vector<int> counts = uses(rounds, 50);
  for (std::size_t t = 1; t <= 50; ++t) EXPECT_EQ(counts[t], t <= 40 ? 1 : 0);
}

TEST(TttRounds, DocumentsAreLearntFromButForTheirLastChunk) {
  //                                  1  2  3  4  5  6  7  8     9  10 11     12 13 14
  const std::vector<std::uint16_t> tokens = {1, 5, 6, 7, 5, 6, 7, 5, 1, 6, 5, 1, 7, 7, 6};
  const std::int64_t targets = 14;
  TttConfig ttt;
  ttt.chunk_tokens = 3;
  const auto plan = *document_plan(tokens, targets, kBos, 4, 2);
  const auto rounds = *document_rounds(plan, tokens, targets, kBos, 4, ttt, false);
  const std::vector<int> counts = uses(rounds, targets);
  EXPECT_EQ(counts, (std::vector<int>{0, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0}));
  ASSERT_EQ(rounds.size(), 5u);
  for (std::size_t i = 0; i < 5; ++i) EXPECT_EQ(rounds[i].reset_first, i == 3 || i == 4) << i;
  const auto carried = *document_rounds(plan, tokens, targets, kBos, 4, ttt, true);
  EXPECT_EQ(uses(carried, targets), (std::vector<int>{0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0}));
  EXPECT_TRUE(std::none_of(carried.begin(), carried.end(), [](const TttRound& round) { return round.reset_first; }));
}

TEST(TttRounds, PhasesComeAfterTheirDocuments) {
  const std::vector<std::uint16_t> tokens = {1, 5, 6, 1, 5, 6, 7, 1, 5, 1, 6, 5};
  PhasedConfig phased;
  phased.documents = 2;
  phased.phases = 5;
  const auto plan = *sliding_plan(11, 4, 2);
  const auto rounds = *phase_rounds(plan, tokens, 11, kBos, 4, phased);
  // Documents begin at targets 1, 4, 8 and 10: one phase after the second, none at the text's end.
  ASSERT_EQ(rounds.size(), 2u);
  EXPECT_EQ(uses(rounds, 11), (std::vector<int>{0, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0}));
  phased.documents = 5;
  EXPECT_EQ(phase_rounds(plan, tokens, 11, kBos, 4, phased)->size(), 1u);
}

TEST(TttRounds, RatesFollowTheirSchedule) {
  TttConfig ttt;
  ttt.lr = 0.5;
  EXPECT_DOUBLE_EQ(ttt_learning_rate(ttt, 0, 5), 0.5);
  EXPECT_DOUBLE_EQ(ttt_learning_rate(ttt, 2, 5), 0.25);
  EXPECT_NEAR(ttt_learning_rate(ttt, 4, 5), 0, 1e-15);
  ttt.schedule = TttSchedule::constant;
  for (const std::int64_t chunk : {0, 2, 4}) EXPECT_EQ(ttt_learning_rate(ttt, chunk, 5), 0.5);
}

TEST(TttRounds, ABrokerRefusesRoundsThatLearnTooEarly) {
  FakeModel model(12);
  auto broker = *TokenBroker::create(random_tokens(40, 3), 40);
  const auto plan = *sliding_plan(40, 8, 4);
  std::vector<TttRound> rounds = *chunk_rounds(plan, 40, 8, [] {
    TttConfig ttt;
    ttt.chunk_tokens = 16;
    return ttt;
  }());
  rounds[0].steps[0].first_target += 16;
  EXPECT_EQ(run_rounds(broker, model, model, plan, rounds, 64, nullptr).error().code, ErrorCode::internal);
  EXPECT_TRUE(model.steps.empty());
}

}  // namespace
}  // namespace par5
