#include "eval/temperature.h"

#include <gtest/gtest.h>

#include <cmath>

#include "core/file.h"
#include "eval/score.h"
#include "fake_model.h"
#include "random_data.h"

namespace par5 {
namespace {

// The inner scorer's distributions at another temperature.
class CooledScorer : public Scorer {
 public:
  CooledScorer(Scorer& inner, double temperature) : inner_(inner), temperature_(temperature) {}
  std::int64_t vocab() const override { return inner_.vocab(); }
  std::string name() const override { return inner_.name(); }
  Status score(const WindowBatch& batch, const Sink& sink) override {
    const auto width = static_cast<std::size_t>(vocab());
    return inner_.score(batch, [&](std::int64_t first, std::int64_t rows, std::span<const float> logs) {
      std::vector<float> cooled(logs.size());
      for (std::size_t row = 0; row < static_cast<std::size_t>(rows); ++row) {
        double sum = 0;
        for (std::size_t v = 0; v < width; ++v)
          sum += std::exp(static_cast<double>(logs[row * width + v]) / temperature_);
        for (std::size_t v = 0; v < width; ++v)
          cooled[row * width + v] =
              static_cast<float>(static_cast<double>(logs[row * width + v]) / temperature_ - std::log(sum));
      }
      return sink(first, rows, cooled);
    });
  }

 private:
  Scorer& inner_;
  double temperature_;
};

// Text that the fake model's own distributions drew.
EvalData drawn_data(std::int64_t targets, double temperature) {
  constexpr std::int64_t kVocab = 12;
  EvalData data = random_data(targets, 1, kVocab);
  FakeModel model(kVocab);
  std::mt19937 random(2);
  for (std::size_t t = 1; t < data.tokens.size(); ++t) {
    const std::size_t start = (t - 1) / 16 * 16;
    const std::vector<float> logs = model.predict(std::span(data.tokens).subspan(start, t - start));
    std::vector<double> weights;
    for (const float log : logs) weights.push_back(std::exp(static_cast<double>(log) / temperature));
    data.tokens[t] =
        static_cast<std::uint16_t>(std::discrete_distribution<int>(weights.begin(), weights.end())(random));
  }
  return data;
}

TEST(Temperature, TheOneThatTheTextWasDrawnAtIsFoundAndIsTheBest) {
  for (const double drawn : {0.5, 1.0, 1.7}) {
    const EvalData data = drawn_data(6000, drawn);
    FakeModel model(12);
    const auto fit = fit_temperature(data, model, 16, 2);
    ASSERT_TRUE(fit) << fit.error().message;
    EXPECT_NEAR(fit->temperature, drawn, 0.1 * drawn);
    EXPECT_EQ(fit->targets, 6000);
    EvalSettings settings;
    settings.window = 16;
    const auto nats_at = [&](double temperature) {
      CooledScorer cooled(model, temperature);
      return run_mode(data, {ModeKind::chunked}, settings, cooled, nullptr)->nats_per_token();
    };
    EXPECT_NEAR(fit->nats_before, nats_at(1), 1e-6);
    EXPECT_NEAR(fit->nats_after, nats_at(fit->temperature), 1e-6);
    EXPECT_LE(fit->nats_after, fit->nats_before);
    for (const double factor : {0.97, 1.03}) EXPECT_LT(fit->nats_after, nats_at(fit->temperature * factor));
    // Threads change nothing.
    EXPECT_EQ(fit_temperature(data, model, 16, 1)->nats_after, fit->nats_after);
  }
}

TEST(Temperature, WhatItWasFittedOnIsKept) {
  const EvalData data = drawn_data(200, 1);
  FakeModel model(12);
  const auto fit = fit_temperature(data, model, 16, 1);
  ASSERT_TRUE(fit);
  std::vector<NamedEntry> extras = temperature_entries(*fit);
  EXPECT_TRUE(extras[0].name < extras[1].name);
  const auto source = temperature_source(extras);
  ASSERT_TRUE(source);
  EXPECT_EQ(source->data_sha256, token_sha256(data, 200));
  EXPECT_EQ(source->targets, 200);
  EXPECT_TRUE(is_fitted_on(extras, data));
  EvalData other = data;
  other.tokens[100] = static_cast<std::uint16_t>(other.tokens[100] ^ 1);
  EXPECT_FALSE(is_fitted_on(extras, other));
  other = data;
  other.tokens.resize(150);
  EXPECT_FALSE(is_fitted_on(extras, other));
  extras[1].value = std::string("200");
  EXPECT_FALSE(temperature_source(extras));
  EXPECT_FALSE(temperature_source({}));
}

TEST(Temperature, TooLittleOrForeignTextIsRefused) {
  FakeModel model(12);
  EXPECT_EQ(fit_temperature(random_data(99, 1), model, 16, 1).error().code, ErrorCode::bad_data);
  EXPECT_EQ(fit_temperature(random_data(200, 1, 14), model, 16, 1).error().code, ErrorCode::bad_data);
}

}  // namespace
}  // namespace par5
