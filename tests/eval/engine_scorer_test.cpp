// The exact engine behind the scorer: claims are -log2(frequency / total); and the artifact's self-test.
#include "eval/engine_scorer.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "engine/elementary.h"
#include "eval/probe.h"
#include "eval/score.h"
#include "eval/self_test.h"
#include "settings.h"
#include "tests/engine/test_models.h"

namespace par5 {
namespace {

using namespace testing_support;

StoredModel small_model() { return random_model(small_unet(), quantizer_of(Grid::quinary, Granularity::group, 24), 3); }

TEST(LogShares, AgreeWithTheEnginesLogarithmToRounding) {
  std::mt19937_64 random(1);
  std::vector<std::uint64_t> frequencies = {1, 2, 3, 5, (std::uint64_t{1} << 32) + 1, (std::uint64_t{1} << 40) + 1};
  for (int i = 0; i < 20000; ++i) frequencies.push_back(1 + (random() >> (random() % 40 + 24)));
  for (const std::uint64_t total : {std::uint64_t{1} << 41, (std::uint64_t{1} << 57) - 1}) {
    std::vector<float> logs(frequencies.size());
    log_shares(frequencies, total, logs);
    for (std::size_t i = 0; i < logs.size(); ++i) {
      const double exact = exact::log64(static_cast<double>(frequencies[i])) - exact::log64(static_cast<double>(total));
      ASSERT_NEAR(logs[i], exact, std::abs(exact) * 0x1p-24 + 1e-12) << frequencies[i];
    }
  }
}

TEST(EngineScorer, ItsFrequenciesSumToTheirTotalsExactly) {
  const StoredModel model = small_model();
  EvalData data;
  data.tokens = token_ids(60, model.model.vocab, 4);
  const auto scorer = EngineScorer::create(model, {Arithmetic::fp32, {}, 1}, 0.9).value();
  const auto report = probe_causality(data, *scorer, {.window = 12, .windows = 3, .cuts = 1});
  ASSERT_TRUE(report) << to_string(report.error());
  EXPECT_EQ(report->verdict, Verdict::pass);
  EXPECT_EQ(report->exact_sums, 3 * 12);
}

TEST(EngineScorer, ScoresAreWhatCodingCharges) {
  const StoredModel model = small_model();
  const std::vector<std::uint16_t> tokens = token_ids(40, model.model.vocab, 9);
  constexpr double kTemperature = 0.9;
  auto scorer = EngineScorer::create(model, {Arithmetic::fp32, {}, 2}, kTemperature).value();
  const PositionRange wanted{0, 39};
  std::vector<double> scores;
  const auto vocab = static_cast<std::size_t>(model.model.vocab);
  ASSERT_TRUE(scorer->score({std::span(tokens).first(39), 39, {&wanted, 1}},
                            [&](std::int64_t, std::int64_t rows, std::span<const float> logs) {
                              for (std::size_t r = 0; r < static_cast<std::size_t>(rows); ++r) {
                                double sum = 0;
                                for (std::size_t v = 0; v < vocab; ++v) sum += std::exp(logs[r * vocab + v]);
                                EXPECT_NEAR(sum, 1, 1e-6);
                                scores.push_back(-logs[r * vocab + tokens[scores.size() + 1]]);
                              }
                              return Status();
                            }));
  ASSERT_EQ(scores.size(), 39u);
  Engine engine = Engine::create(model, {Arithmetic::fp32, "scalar", 1}).value();
  const std::vector<float> logits = testing_support::all_logits(engine, std::span(tokens).first(39));
  std::vector<std::uint64_t> frequencies(logits.size()), totals(39);
  engine.frequencies(logits, kTemperature, kFrequencyBits, frequencies, totals);
  for (std::size_t i = 0; i < scores.size(); ++i)
    EXPECT_NEAR(scores[i], claimed_bits(frequencies[i * vocab + tokens[i + 1]], totals[i]) * std::log(2.0), 1e-6);
}

TEST(EngineScorer, EveryModeGivesTheSameScoresForEveryKernelAndBatch) {
  const StoredModel model = small_model();
  EvalData data;
  data.tokens = token_ids(120, model.model.vocab, 4);
  for (std::size_t i = 0; i < data.tokens.size(); i += 37) data.tokens[i] = data.bos;
  data.token_bytes.bytes.assign(static_cast<std::size_t>(model.model.vocab), 3);
  data.token_bytes.leading_space.assign(data.token_bytes.bytes.size(), 0);
  data.token_bytes.boundary.assign(data.token_bytes.bytes.size(), 0);
  data.available_targets = data.targets();
  for (const ModeKind kind : {ModeKind::chunked, ModeKind::sliding, ModeKind::document, ModeKind::document_sliding}) {
    std::vector<std::uint32_t> reference;
    for (const std::string& kernel : kernel_names())
      for (const std::int64_t batch : {64, 1000}) {
        auto scorer = EngineScorer::create(model, {Arithmetic::int8, kernel, 1}).value();
        const auto row = run_mode(data, {kind}, settings(32, 5, batch), *scorer, nullptr);
        ASSERT_TRUE(row) << row.error().message;
        if (reference.empty()) reference = row->target_units;
        EXPECT_EQ(row->target_units, reference) << mode_name({kind}) << " " << kernel << " " << batch;
      }
  }
}

// Windows of twice the trained context: RoPE has angles for them, a table of learned positions has none.
TEST(EngineScorer, WindowsLongerThanTrained) {
  EvalData data;
  ModelConfig config = small_unet();
  config.context = 24;
  config.rope_max_context = 32;
  const StoredModel model = random_model(config, quantizer_of(Grid::quinary, Granularity::group, 24), 6);
  data.tokens = token_ids(130, config.vocab, 5);
  data.token_bytes.bytes.assign(static_cast<std::size_t>(config.vocab), 3);
  data.token_bytes.leading_space.assign(data.token_bytes.bytes.size(), 0);
  data.token_bytes.boundary.assign(data.token_bytes.bytes.size(), 0);
  auto scorer = EngineScorer::create(model, {Arithmetic::fp32, {}, 1}).value();
  const auto row = run_mode(data, {ModeKind::sliding}, settings(48, 20), *scorer, nullptr);
  ASSERT_TRUE(row) << row.error().message;
  // The last target of a window, alone: the same bits.
  const auto window = std::span(data.tokens).subspan(40, 48);
  const PositionRange wanted{47, 48};
  ASSERT_TRUE(scorer->score({window, 48, {&wanted, 1}}, [&](std::int64_t, std::int64_t, std::span<const float> logs) {
    EXPECT_EQ(ledger_units(-logs[data.tokens[88]]).value(), row->target_units[87]);
    return Status();
  }));

  const StoredModel learned = random_model(small_gpt2(), quantizer_of(Grid::ternary, Granularity::row, 1), 8);
  scorer = EngineScorer::create(learned, {Arithmetic::fp32, {}, 1}).value();
  const std::vector<std::uint16_t> text = token_ids(learned.model.context + 2, learned.model.vocab, 7);
  data.tokens = text;
  data.token_bytes.bytes.assign(static_cast<std::size_t>(learned.model.vocab), 3);
  const auto longer = run_mode(data, {ModeKind::chunked}, settings(learned.model.context + 1, 64), *scorer, nullptr);
  ASSERT_FALSE(longer);
  EXPECT_EQ(longer.error().code, ErrorCode::usage);
  EXPECT_NE(longer.error().message.find("learned positions"), std::string::npos);
}

TEST(SelfTest, HoldsOnEveryKernelAndNoticesAnotherModel) {
  for (Artifact artifact :
       {Artifact{small_model(), {}, {}, 0.95, {}, {}},
        Artifact{
            random_model(small_gpt2(), quantizer_of(Grid::ternary, Granularity::row, 1), 8), {}, {}, 1.0, {}, {}}}) {
    artifact.self_test = make_self_test(artifact.model, artifact.temperature, 2).value();
    artifact.extras = {arithmetic_version_entry()};
    EXPECT_LE(artifact.self_test.size() * artifact.self_test[0].tokens.size() * 2, 64u) << "every byte counts";
    const auto results = run_self_test(artifact, 2);
    ASSERT_TRUE(results) << results.error().message;
    EXPECT_EQ(results->size(), arithmetics().size() * kernel_names().size());
    for (const SelfTestResult& result : *results) {
      EXPECT_TRUE(result.ok()) << result.kernel;
      EXPECT_GT(result.logits, 1000u);
    }
    // Another temperature is another claim.
    artifact.temperature = 1.2;
    const auto changed = run_self_test(artifact, 1);
    ASSERT_TRUE(changed);
    for (const SelfTestResult& result : *changed)
      EXPECT_EQ(result.wrong_windows, result.arithmetic == Arithmetic::fp32 ? artifact.self_test.size() : 0u);
    artifact.extras[0].value = std::uint64_t{99};
    const auto unknown = run_self_test(artifact, 1);
    ASSERT_FALSE(unknown);
    EXPECT_NE(unknown.error().message.find("version 99"), std::string::npos) << unknown.error().message;
  }
}

TEST(SelfTest, HostileWindowsAreErrors) {
  Artifact artifact{small_model(), {}, {}, 1.0, {{{1, 5000}, 7}}, {arithmetic_version_entry()}};
  const auto beyond = run_self_test(artifact, 1);
  ASSERT_TRUE(beyond || beyond.error().code == ErrorCode::bad_data);
  artifact.self_test = {{std::vector<std::uint16_t>(100000, 1), 7}};
  EXPECT_FALSE(run_self_test(artifact, 1));
  artifact.self_test = {{{}, 0}, {{3}, 0}};
  EXPECT_TRUE(run_self_test(artifact, 1));
}

}  // namespace
}  // namespace par5
