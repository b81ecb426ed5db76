// The probes find planted cheats, and nothing else.
#include "eval/probe.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>

#include "eval/frequency_scorer.h"
#include "fake_model.h"
#include "random_data.h"

namespace par5 {
namespace {

constexpr std::int64_t kVocab = 12;

enum class Cheat { none, target, future, gate, batch, memory, scaled, blend, negative };

// FakeModel with one of the cheats of the field.
class Cheater final : public Scorer {
 public:
  explicit Cheater(Cheat cheat) : cheat_(cheat) {}
  std::int64_t vocab() const override { return kVocab; }
  std::string name() const override { return "cheater"; }

  Status score(const WindowBatch& batch, const Sink& sink) override {
    std::int64_t row = 0;
    for (std::int64_t w = 0; w < batch.windows(); ++w) {
      const auto window =
          batch.inputs.subspan(static_cast<std::size_t>(w * batch.length), static_cast<std::size_t>(batch.length));
      for (std::int64_t p = batch.wanted[static_cast<std::size_t>(w)].first;
           p < batch.wanted[static_cast<std::size_t>(w)].last; ++p) {
        const auto at = static_cast<std::size_t>(p);
        std::vector<float> logs = model_.predict(window.first(at + 1));
        const bool has_next = p + 1 < batch.length;
        switch (cheat_) {
          case Cheat::none:
            break;
          case Cheat::target:  // a little of the observed token
            if (has_next) sharpen(logs, window[at + 1], 0.01);
            break;
          case Cheat::future:  // fitted on what comes later in the window
            if (p + 5 < batch.length) sharpen(logs, window[at + 5], 0.01);
            break;
          case Cheat::gate:  // which expert speaks depends on the observed token
            if (has_next && window[at + 1] % 2 == 0) sharpen(logs, 3, 0.01);
            break;
          case Cheat::batch:  // statistics over the whole batch, the next document included
            sharpen(logs, batch.inputs.back(), 0.01);
            break;
          case Cheat::memory:  // remembers what was scored before, also later documents
            sharpen(logs, static_cast<std::uint16_t>(seen_ % kVocab), 0.01);
            break;
          case Cheat::scaled:
            logs[4] += 0.001f;
            break;
          case Cheat::blend:
            std::fill(logs.begin(), logs.end(), -0.1f);
            break;  // every token gets what one may have
          case Cheat::negative:
            logs[2] = std::nanf("");
            break;
        }
        P5_OK(sink(row++, 1, logs));
      }
    }
    for (const std::uint16_t token : batch.inputs) seen_ += token;
    return {};
  }

 private:
  // Moves `share` of the mass to a token; the row stays normalised.
  static void sharpen(std::vector<float>& logs, std::uint16_t token, double share) {
    for (std::size_t v = 0; v < logs.size(); ++v)
      logs[v] =
          static_cast<float>(std::log((1 - share) * std::exp(static_cast<double>(logs[v])) + (v == token ? share : 0)));
  }
  Cheat cheat_;
  FakeModel model_{kVocab};
  std::int64_t seen_ = 0;
};

std::vector<std::string> failed(Cheat cheat) {
  const EvalData data = random_data(300, 1);
  Cheater scorer(cheat);
  const auto report = probe_causality(data, scorer, {.window = 24, .windows = 4, .cuts = 4, .seed = 2});
  EXPECT_TRUE(report);
  std::vector<std::string> ids;
  for (const AuditCheck& check : report->checks) {
    EXPECT_NE(check.verdict, Verdict::unknown) << check.id;
    if (check.verdict == Verdict::fail) ids.push_back(check.id);
  }
  EXPECT_EQ(report->verdict, ids.empty() ? Verdict::pass : Verdict::fail);
  return ids;
}

TEST(Probe, AnHonestScorerPasses) { EXPECT_EQ(failed(Cheat::none), std::vector<std::string>{}); }

TEST(Probe, EveryCheatIsCaughtAndNamed) {
  using Ids = std::vector<std::string>;
  EXPECT_EQ(failed(Cheat::target), (Ids{"target", "future"}));
  EXPECT_EQ(failed(Cheat::future), (Ids{"target", "future"}));
  EXPECT_EQ(failed(Cheat::gate), (Ids{"target", "future"}));
  const Ids batch = failed(Cheat::batch);
  EXPECT_NE(std::find(batch.begin(), batch.end(), "documents"), batch.end());
  const Ids memory = failed(Cheat::memory);
  EXPECT_NE(std::find(memory.begin(), memory.end(), "documents"), memory.end());
  EXPECT_NE(std::find(memory.begin(), memory.end(), "repeat"), memory.end());
  EXPECT_EQ(failed(Cheat::scaled), (Ids{"normalised"}));
  EXPECT_EQ(failed(Cheat::blend), (Ids{"normalised"}));
  const Ids negative = failed(Cheat::negative);
  EXPECT_NE(std::find(negative.begin(), negative.end(), "nonnegative"), negative.end());
}

// Whole numbers, as a coder takes them; `spoil` changes a row's.
class WholeNumbers final : public FrequencyScorer {
 public:
  using Row = std::vector<std::uint64_t>;
  explicit WholeNumbers(std::function<void(Row&, std::uint64_t&)> spoil) : spoil_(std::move(spoil)) {}
  std::int64_t vocab() const override { return kVocab; }
  std::string name() const override { return "whole numbers"; }
  Status score(const WindowBatch& batch, const Sink& sink) override {
    return model_.score(
        batch, [&](std::int64_t row, std::int64_t rows, std::span<const float> logs) { return sink(row, rows, logs); });
  }
  Status score_frequencies(const WindowBatch& batch, const FrequencySink& sink) override {
    return model_.score(batch, [&](std::int64_t first, std::int64_t rows, std::span<const float> logs) {
      Row row;
      std::uint64_t total = 0;
      for (const float log : logs)
        row.push_back(1 + static_cast<std::uint64_t>(std::exp(static_cast<double>(log)) * 0x1p40));
      for (const std::uint64_t frequency : row) total += frequency;
      if (first == 7) spoil_(row, total);
      return sink(first, rows, row, std::span(&total, 1));
    });
  }

 private:
  FakeModel model_{kVocab};
  std::function<void(Row&, std::uint64_t&)> spoil_;
};

TEST(Probe, WholeNumbersMustSumExactly) {
  const EvalData data = random_data(300, 1);
  const auto failed_with = [&](const std::function<void(WholeNumbers::Row&, std::uint64_t&)>& spoil) {
    WholeNumbers scorer(spoil);
    const auto report = probe_causality(data, scorer, {.window = 24, .windows = 4, .cuts = 1});
    EXPECT_TRUE(report);
    std::vector<std::string> ids;
    for (const AuditCheck& check : report->checks)
      if (check.verdict == Verdict::fail) ids.push_back(check.id);
    if (ids.empty()) {
      EXPECT_EQ(report->exact_sums, 4 * 24);
    }
    return ids;
  };
  using Ids = std::vector<std::string>;
  EXPECT_EQ(failed_with([](auto&, auto&) {}), Ids{});
  // Of a trillion one is too much: no sum of floats shows that.
  EXPECT_EQ(failed_with([](auto&, auto& total) { ++total; }), Ids{"normalised"});
  EXPECT_EQ(failed_with([](auto& row, auto&) { ++row[3]; }), Ids{"normalised"});
  EXPECT_EQ(failed_with([](auto& row, auto& total) { total -= row[2], row[2] = 0; }),
            (Ids{"normalised", "nonnegative"}));
  // They sum, and are not what was scored.
  EXPECT_EQ(failed_with([](auto& row, auto&) {
              std::swap(*std::min_element(row.begin(), row.end()), *std::max_element(row.begin(), row.end()));
            }),
            Ids{"normalised"});
}

TEST(Probe, WindowsThatAreTooShortAreRefused) {
  const EvalData data = random_data(300, 1);
  Cheater scorer(Cheat::none);
  EXPECT_EQ(probe_causality(data, scorer, {.window = 1}).error().code, ErrorCode::bad_data);
}

}  // namespace
}  // namespace par5
