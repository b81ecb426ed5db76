// The probes find planted cheats, and nothing else.
#include "eval/probe.h"

#include <gtest/gtest.h>

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
      const auto window = batch.inputs.subspan(static_cast<std::size_t>(w * batch.length), static_cast<std::size_t>(batch.length));
      for (std::int64_t p = batch.wanted[static_cast<std::size_t>(w)].first; p < batch.wanted[static_cast<std::size_t>(w)].last; ++p) {
        const auto at = static_cast<std::size_t>(p);
        std::vector<float> logs = model_.predict(window.first(at + 1));
        const bool has_next = p + 1 < batch.length;
        switch (cheat_) {
          case Cheat::none: break;
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
          case Cheat::scaled: logs[4] += 0.001f; break;
          case Cheat::blend: std::fill(logs.begin(), logs.end(), -0.1f); break;  // every token gets what one may have
          case Cheat::negative: logs[2] = std::nanf(""); break;
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
      logs[v] = static_cast<float>(std::log((1 - share) * std::exp(static_cast<double>(logs[v])) + (v == token ? share : 0)));
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

TEST(Probe, WindowsThatAreTooShortAreRefused) {
  const EvalData data = random_data(300, 1);
  Cheater scorer(Cheat::none);
  EXPECT_EQ(probe_causality(data, scorer, {.window = 1}).error().code, ErrorCode::bad_data);
}

}  // namespace
}  // namespace par5
