#include "eval/broker.h"

#include <gtest/gtest.h>

#include <limits>
#include <numbers>
#include <type_traits>

#include "fake_model.h"

namespace par5 {
namespace {

// Nobody but the broker can make training windows, and the broker can be neither copied into a second ledger by
// accident nor made around its checks.
static_assert(!std::is_default_constructible_v<ScoredWindows>);
static_assert(!std::is_constructible_v<ScoredWindows, std::span<const std::uint16_t>, std::span<const std::uint16_t>,
                                       std::int64_t, std::int64_t>);
static_assert(!std::is_constructible_v<TokenBroker, std::vector<std::uint16_t>, std::int64_t>);

std::vector<std::uint16_t> counting_tokens(std::size_t count) {
  std::vector<std::uint16_t> tokens(count);
  for (std::size_t i = 0; i < count; ++i) tokens[i] = static_cast<std::uint16_t>(i % 11);
  return tokens;
}

TEST(Broker, LearnerGetsASpanOnlyAfterItIsScored) {
  FakeModel model(11);
  auto broker = TokenBroker::create(counting_tokens(41), 40);
  ASSERT_TRUE(broker);
  // Nothing is scored yet; nothing reaches the learner.
  EXPECT_FALSE(broker->learn(model, 1, 1, 8, 0.1));
  const std::vector<Window> first = {{0, 8, 0}};
  ASSERT_TRUE(broker->score(model, first, 64, nullptr));
  // One target too far, the target before the first, empty and negative spans.
  EXPECT_FALSE(broker->learn(model, 2, 1, 8, 0.1));
  EXPECT_FALSE(broker->learn(model, 0, 1, 8, 0.1));
  EXPECT_FALSE(broker->learn(model, 1, 2, 8, 0.1));
  EXPECT_FALSE(broker->learn(model, 1, 0, 8, 0.1));
  EXPECT_FALSE(broker->learn(model, -3, 1, 2, 0.1));
  EXPECT_FALSE(broker->learn(model, 39, 1, 8, 0.1));
  EXPECT_TRUE(model.steps.empty());

  ASSERT_TRUE(broker->learn(model, 1, 2, 4, 0.1));
  ASSERT_EQ(model.steps.size(), 1u);
  // Targets [1, 9), inputs one earlier.
  EXPECT_EQ(model.steps[0].inputs, (std::vector<std::uint16_t>{0, 1, 2, 3, 4, 5, 6, 7}));
  EXPECT_EQ(model.steps[0].targets, (std::vector<std::uint16_t>{1, 2, 3, 4, 5, 6, 7, 8}));
  EXPECT_EQ(model.steps[0].windows, 2);
  EXPECT_EQ(model.steps[0].length, 4);
}

TEST(Broker, NoTargetIsScoredTwice) {
  FakeModel model(11);
  auto broker = TokenBroker::create(counting_tokens(41), 40);
  const std::vector<Window> first = {{0, 8, 0}}, again = {{4, 8, 3}}, next = {{4, 8, 4}};
  ASSERT_TRUE(broker->score(model, first, 64, nullptr));
  EXPECT_FALSE(broker->score(model, first, 64, nullptr));
  EXPECT_FALSE(broker->score(model, again, 64, nullptr));
  EXPECT_EQ(broker->ledger().scored(), 8);
  ASSERT_TRUE(broker->learn(model, 1, 1, 8, 0.1));
  EXPECT_FALSE(broker->score(model, first, 64, nullptr));  // in particular not after it was learnt from
  EXPECT_TRUE(broker->score(model, next, 64, nullptr));
  EXPECT_EQ(broker->ledger().scored(), 12);
}

TEST(Broker, TwoWindowsOfOneBatchMayNotScoreTheSameTarget) {
  FakeModel model(11);
  auto broker = TokenBroker::create(counting_tokens(41), 40);
  const std::vector<Window> windows = {{0, 8, 0}, {2, 8, 5}};
  EXPECT_FALSE(broker->score(model, windows, 640, nullptr));
}

TEST(Broker, WindowsOutsideTheStreamAreRefused) {
  FakeModel model(11);
  auto broker = TokenBroker::create(counting_tokens(41), 32);
  for (const Window& window :
       {Window{30, 4, 0}, Window{-1, 4, 0}, Window{0, 4, 4}, Window{0, 4, -1}, Window{40, 1, 0}}) {
    const std::vector<Window> windows = {window};
    EXPECT_FALSE(broker->score(model, windows, 64, nullptr));
  }
  EXPECT_EQ(broker->ledger().scored(), 0);
  EXPECT_FALSE(TokenBroker::create(counting_tokens(41), 41));
  EXPECT_FALSE(TokenBroker::create(counting_tokens(41), 0));
}

TEST(Broker, TheOrderIsOnRecord) {
  FakeModel model(11);
  auto broker = TokenBroker::create(counting_tokens(41), 40);
  const std::vector<Window> one = {{0, 8, 0}, {8, 8, 0}}, two = {{16, 8, 0}};
  ASSERT_TRUE(broker->score(model, one, 8, nullptr));
  ASSERT_TRUE(broker->learn(model, 1, 2, 8, 0.25));
  ASSERT_TRUE(broker->score(model, two, 8, nullptr));
  using Kind = LedgerEvent::Kind;
  EXPECT_EQ(broker->ledger().events(), (std::vector<LedgerEvent>{{Kind::scored, 1, 17, 0, 0, 0, {}},
                                                                 {Kind::learnt, 1, 17, 0, 8, 0.25, {}},
                                                                 {Kind::scored, 17, 25, 1, 0, 0, {}}}));
}

TEST(Broker, RowsThatAreNoDistributionAreRefused) {
  const std::vector<Window> windows = {{0, 8, 0}};
  const auto with = [&](std::function<void(std::vector<float>&)> spoil) {
    FakeModel model(11);
    model.spoil = std::move(spoil);
    auto broker = TokenBroker::create(counting_tokens(41), 40);
    const Status status = broker->score(model, windows, 64, nullptr);
    EXPECT_EQ(broker->ledger().scored(), 0);
    return status;
  };
  EXPECT_FALSE(with([](std::vector<float>& row) { row[3] += 0.01f; }));
  EXPECT_FALSE(with([](std::vector<float>& row) { row[3] = std::numeric_limits<float>::quiet_NaN(); }));
  EXPECT_FALSE(with([](std::vector<float>& row) { row.pop_back(); }));
  EXPECT_FALSE(with([](std::vector<float>& row) {
    row.assign(row.size(), -std::numeric_limits<float>::infinity());
    row[10] = 0;
  }));
}

TEST(Ledger, RefusesWhatIsNoScore) {
  EXPECT_FALSE(ledger_units(-0.5));
  EXPECT_FALSE(ledger_units(std::numeric_limits<double>::infinity()));
  EXPECT_FALSE(ledger_units(std::numeric_limits<double>::quiet_NaN()));
  EXPECT_FALSE(ledger_units(1024 * std::numbers::ln2));
  EXPECT_EQ(*ledger_units(1023 * std::numbers::ln2), 1023u << kLedgerFractionBits);
  EXPECT_EQ(*ledger_units(0), 0u);

  Ledger ledger(4);
  const std::vector<std::uint32_t> fine = {0, 25};
  EXPECT_FALSE(ledger.record_scores(0, fine));
  EXPECT_FALSE(ledger.record_scores(4, fine));
  EXPECT_EQ(ledger.total_units(), 0u);
  EXPECT_TRUE(ledger.record_scores(3, fine));
  EXPECT_FALSE(ledger.record_scores(3, fine));
  EXPECT_EQ(ledger.total_units(), 25u);
  EXPECT_TRUE(ledger.all_scored(3, 5));
  EXPECT_FALSE(ledger.all_scored(2, 5));
  EXPECT_FALSE(ledger.all_scored(3, 6));
  EXPECT_FALSE(ledger.any_scored(1, 3));
  EXPECT_FALSE(ledger.record_update(2, 4, 2, 0.1));
  EXPECT_EQ(ledger.updates(), 0);
}

}  // namespace
}  // namespace par5
