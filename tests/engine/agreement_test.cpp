// The engine against the independent double-precision forward pass, and against what a published checkpoint scores.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "tests/engine/test_models.h"
#include "tests/model/reference.h"

namespace par5 {
namespace {

using testing_support::all_logits;
using testing_support::make_engine;

// Largest difference over the largest magnitude.
double relative_difference(const std::vector<float>& ours, const std::vector<double>& theirs) {
  double difference = 0, magnitude = 0;
  for (std::size_t i = 0; i < ours.size(); ++i) {
    difference = std::max(difference, std::fabs(static_cast<double>(ours[i]) - theirs[i]));
    magnitude = std::max(magnitude, std::fabs(theirs[i]));
  }
  return difference / magnitude;
}

TEST(Agreement, Fp32MatchesDoublePrecisionForEveryKindOfModel) {
  for (const auto& [name, model] : testing_support::models_of_every_kind()) {
    const auto tokens = testing_support::random_tokens(70, model.model.vocab, 5);
    const std::vector<std::uint16_t> ids(tokens.begin(), tokens.end());
    const std::vector<double> expected = reference::logits(model, tokens);
    Engine engine = make_engine(model, Arithmetic::fp32, "");
    const std::vector<float> logits = all_logits(engine, ids);
    ASSERT_EQ(logits.size(), expected.size()) << name;
    const double difference = relative_difference(logits, expected);
    EXPECT_LE(difference, 1e-4) << name;
  }
}

TEST(Agreement, AddsOnlyMatchesDoublePrecisionToo) {
  for (const auto& [name, model] : testing_support::models_of_every_kind()) {
    if (max_code(model.quantizer.grid) > 2) {
      const auto refused = Engine::create(model, {Arithmetic::fp32_adds, "", 1});
      ASSERT_FALSE(refused.has_value()) << name;
      EXPECT_EQ(refused.error().code, ErrorCode::usage);
      continue;
    }
    const auto tokens = testing_support::random_tokens(70, model.model.vocab, 5);
    Engine engine = make_engine(model, Arithmetic::fp32_adds, "");
    const std::vector<float> logits = all_logits(engine, std::vector<std::uint16_t>(tokens.begin(), tokens.end()));
    EXPECT_LE(relative_difference(logits, reference::logits(model, tokens)), 1e-4) << name;
  }
}

TEST(Agreement, Int8StaysNearFp32) {
  for (const auto& [name, model] : testing_support::models_of_every_kind()) {
    const auto tokens = testing_support::token_ids(40, model.model.vocab, 6);
    Engine exact = make_engine(model, Arithmetic::fp32, ""), rounded = make_engine(model, Arithmetic::int8, "");
    const std::vector<float> expected = all_logits(exact, tokens), logits = all_logits(rounded, tokens);
    double difference = 0, magnitude = 0;
    for (std::size_t i = 0; i < logits.size(); ++i) {
      difference += std::fabs(static_cast<double>(logits[i]) - static_cast<double>(expected[i]));
      magnitude += std::fabs(static_cast<double>(expected[i]));
    }
    EXPECT_LE(difference / magnitude, 0.2) << name;
    EXPECT_GT(difference, 0.0) << name;
  }
}

}  // namespace
}  // namespace par5
