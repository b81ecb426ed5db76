#include "eval/approximate.h"

#include <gtest/gtest.h>

#include <cmath>

#include "eval/report.h"
#include "eval/stream_scorer.h"
#include "fake_model.h"
#include "random_data.h"
#include "settings.h"
#include "tests/engine/test_models.h"

namespace par5 {
namespace {

using namespace testing_support;

TEST(Approximate, ALargerStrideShowsItsSignedDifference) {
  const EvalData data = random_data(400, 1);
  FakeModel model(12);
  const Mode mode = *mode_from_name("sliding~8");
  EXPECT_EQ(mode.approximate_stride, 8);
  // Everything behind the first window is sampled, so that the difference is that of the whole.
  const auto row = run_approximate(data, mode, settings(16, 2), model, model, 1000000);
  ASSERT_TRUE(row) << row.error().message;
  const auto coarse = run_mode(data, {ModeKind::sliding}, settings(16, 8), model, nullptr);
  const auto exact = run_mode(data, {ModeKind::sliding}, settings(16, 2), model, nullptr);
  ASSERT_TRUE(coarse && exact);
  EXPECT_EQ(row->target_units, coarse->target_units);
  EXPECT_EQ(row->stride, 8);
  ASSERT_TRUE(row->approximation);
  EXPECT_EQ(row->approximation->stride, 2);
  EXPECT_EQ(row->approximation->targets, 400 - 16);
  double bits = 0, exact_bits = 0, bytes = 0;
  for (std::int64_t t = 17; t <= 400; ++t) {
    const auto i = static_cast<std::size_t>(t - 1);
    bits += ledger_bits(coarse->target_units[i]);
    exact_bits += ledger_bits(exact->target_units[i]);
    bytes += target_bytes(data, t);
  }
  EXPECT_NEAR(row->approximation->bpb, (bits - exact_bits) / bytes, 1e-12);
  EXPECT_NEAR(row->approximation->exact_bpb, exact_bits / bytes, 1e-12);
  EXPECT_LE(*row->approximation->low, row->approximation->bpb);
  EXPECT_GE(*row->approximation->high, row->approximation->bpb);
  // A smaller sample has about as many targets as were asked for.
  EXPECT_EQ(run_approximate(data, mode, settings(16, 2), model, model, 25)->approximation->targets, 26);
}

TEST(Approximate, IsNeverCalledExact) {
  const EvalData data = random_data(100, 2);
  FakeModel model(12);
  const auto row = run_approximate(data, *mode_from_name("sliding~8"), settings(16, 4), model, model, 20);
  ASSERT_TRUE(row);
  const auto json = row_json(*row);
  EXPECT_EQ(json["mode"], "sliding~8");
  EXPECT_EQ(json["approximate"], true);
  EXPECT_EQ(json["approximates"]["stride"], 4);
  EXPECT_EQ(json["sample_targets"], 20);
  EXPECT_EQ(json["sample_difference"].get<double>(), row->approximation->bpb);
  EXPECT_EQ(row_json(*run_mode(data, {ModeKind::sliding}, settings(16, 4), model, nullptr))["approximate"], false);
  EXPECT_NE(eval_text({*row}, data).find("sliding~8 is not exact"), std::string::npos);
  EvalSettings with_ledger = settings(16, 4);
  with_ledger.ledger.emplace();
  EXPECT_EQ(run_approximate(data, row->mode, with_ledger, model, model, 20).error().code, ErrorCode::usage);
  EXPECT_EQ(run_mode(data, row->mode, with_ledger, model, nullptr).error().code, ErrorCode::usage);
  EXPECT_EQ(run_approximate(data, row->mode, settings(16, 8), model, model, 20).error().code, ErrorCode::usage);
  for (const char* name :
       {"sliding~", "sliding~0", "sliding~8x", "chunked~8", "sliding~-4", "ttt:model~stream", "sliding~streams"})
    EXPECT_EQ(mode_from_name(name).error().code, ErrorCode::usage) << name;
  EXPECT_EQ(mode_name(*mode_from_name("sliding~stream")), "sliding~stream");
}

// A text of the small model's ids.
EvalData engine_data(std::int64_t targets, std::int64_t vocab) {
  EvalData data = random_data(targets, 3, vocab);
  return data;
}

TEST(Approximate, AStreamIsExactUntilItForgetsAndNearAfterwards) {
  const StoredModel model = random_model(small_unet(), quantizer_of(Grid::quinary, Granularity::group, 24), 3);
  const EvalData data = engine_data(300, model.model.vocab);
  auto exact = EngineScorer::create(model, {Arithmetic::fp32, {}, 1}).value();
  auto stream = StreamScorer::create(*exact, 64).value();
  const Mode mode = *mode_from_name("sliding~stream");
  const auto row = run_approximate(data, mode, settings(64, 8), *stream, *exact, 1000);
  ASSERT_TRUE(row) << row.error().message;
  EXPECT_EQ(row->engine, "streaming, exact fp32");
  EXPECT_EQ(row->targets, 300);
  const auto chunked = run_mode(data, {ModeKind::chunked}, settings(64, 8), *exact, nullptr);
  ASSERT_TRUE(chunked);
  // While nothing is forgotten it is one window.
  for (std::size_t t = 0; t < 64; ++t) ASSERT_EQ(row->target_units[t], chunked->target_units[t]) << t;
  EXPECT_NE(row->approximation->bpb, 0);
  EXPECT_LT(std::abs(row->approximation->bpb), 0.1 * row->approximation->exact_bpb);
  // The same again, in batches of another size.
  stream->restart();
  EvalSettings one_by_one = settings(64, 8);
  one_by_one.batch_tokens = 1;
  EXPECT_EQ(run_approximate(data, mode, one_by_one, *stream, *exact, 8)->target_units, row->target_units);

  auto learned = EngineScorer::create(random_model(small_gpt2(), quantizer_of(Grid::ternary, Granularity::row, 1), 8),
                                      {Arithmetic::fp32, {}, 1})
                     .value();
  EXPECT_EQ(StreamScorer::create(*learned, 16).error().code, ErrorCode::usage);
}

// Moved keys are what keys at the earlier positions would be: a model of one layer sees the difference in rounding
// only.
TEST(Approximate, ForgettingMovesKeysBack) {
  ModelConfig config = small_unet();
  config.layers = 1;
  const StoredModel model = random_model(config, quantizer_of(Grid::quinary, Granularity::group, 24), 5);
  Engine engine = Engine::create(model, {Arithmetic::fp32, {}, 1}).value();
  const std::vector<std::uint16_t> tokens = testing_support::token_ids(40, config.vocab, 6);
  const auto last_logits = [&](Windows& windows, std::span<const std::uint16_t> more) {
    std::vector<float> logits;
    const WindowInput input{0, more, static_cast<std::int64_t>(more.size()) - 1};
    EXPECT_TRUE(engine.append(windows, {&input, 1}, [&](std::int64_t, std::int64_t, std::span<const float> row) {
      logits.assign(row.begin(), row.end());
      return Status();
    }));
    return logits;
  };
  const std::span<const std::uint16_t> all = tokens;
  Windows moved = engine.make_windows(1, 40).value(), anew = engine.make_windows(1, 40).value();
  last_logits(moved, all.first(30));
  ASSERT_TRUE(engine.forget(moved, 0, 17));
  EXPECT_EQ(moved.length(0), 13);
  const std::vector<float> a = last_logits(moved, all.subspan(30)), b = last_logits(anew, all.subspan(17));
  ASSERT_EQ(a.size(), b.size());
  double largest = 0;
  for (std::size_t i = 0; i < a.size(); ++i) largest = std::max(largest, static_cast<double>(std::abs(a[i] - b[i])));
  EXPECT_LT(largest, 1e-4);
  EXPECT_TRUE(engine.forget(moved, 0, 23));
  EXPECT_EQ(moved.length(0), 0);
  EXPECT_EQ(last_logits(moved, all.subspan(17)), b);
  EXPECT_EQ(engine.forget(moved, 0, 24).error().code, ErrorCode::usage);
}

}  // namespace
}  // namespace par5
