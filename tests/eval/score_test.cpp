#include "eval/score.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

#include "eval/plan.h"
#include "eval/report.h"
#include "eval/ttt.h"
#include "fake_model.h"
#include "random_data.h"
#include "settings.h"

namespace par5 {
namespace {

constexpr std::int64_t kVocab = 12;

// Independent of plans and brokers: each target from its definition.
double slow_nats(const EvalData& data, FakeModel& model, std::int64_t target, std::int64_t context_start) {
  const std::span<const std::uint16_t> tokens = data.tokens;
  const auto context =
      tokens.subspan(static_cast<std::size_t>(context_start), static_cast<std::size_t>(target - context_start));
  return -model.predict(context)[tokens[static_cast<std::size_t>(target)]];
}

TEST(Score, ChunkedAgreesWithTheDefinition) {
  const EvalData data = random_data(101, 1);
  FakeModel model(kVocab);
  const auto row = run_mode(data, {ModeKind::chunked}, settings(16, 4), model, nullptr);
  ASSERT_TRUE(row);
  double nats = 0;
  std::int64_t bytes = 0;
  for (std::int64_t t = 1; t <= 101; ++t) {
    const double one = slow_nats(data, model, t, (t - 1) / 16 * 16);
    EXPECT_FLOAT_EQ(row->target_nats(t), static_cast<float>(one));
    nats += one;
    const std::uint16_t token = data.tokens[static_cast<std::size_t>(t)],
                        previous = data.tokens[static_cast<std::size_t>(t - 1)];
    bytes += token < 2 ? 0 : token + (token % 2 == 0 && previous >= 2 ? 1 : 0);
  }
  EXPECT_EQ(row->targets, 101);
  EXPECT_EQ(row->bytes, bytes);
  EXPECT_EQ(row->dropped_targets, 0);
  EXPECT_NEAR(row->nats, nats, 1e-4);
  EXPECT_DOUBLE_EQ(row->bpb(), row->nats / (std::numbers::ln2 * static_cast<double>(bytes)));
  EXPECT_EQ(row->documents, std::count(data.tokens.begin(), data.tokens.end() - 1, data.bos));
}

TEST(Score, SlidingAgreesWithTheDefinition) {
  const EvalData data = random_data(101, 2);
  FakeModel model(kVocab);
  const std::int64_t window = 16, stride = 5;
  const auto row = run_mode(data, {ModeKind::sliding}, settings(window, stride), model, nullptr);
  ASSERT_TRUE(row);
  for (std::int64_t t = 1; t <= 101; ++t) {
    const std::int64_t later = t <= window ? 0 : (t - window + stride - 1) / stride;
    EXPECT_FLOAT_EQ(row->target_nats(t), static_cast<float>(slow_nats(data, model, t, later * stride))) << t;
  }
}

TEST(Score, DocumentsAreScoredAsIfAlone) {
  const EvalData data = random_data(200, 3);
  FakeModel model(kVocab);
  const auto row = run_mode(data, {ModeKind::document}, settings(8, 3), model, nullptr);
  ASSERT_TRUE(row);
  std::int64_t begin = 0;
  for (std::int64_t t = 1; t <= 200; ++t) {
    if (data.tokens[static_cast<std::size_t>(t - 1)] == data.bos) begin = t - 1;
    EXPECT_FLOAT_EQ(row->target_nats(t), static_cast<float>(slow_nats(data, model, t, begin + (t - 1 - begin) / 8 * 8)))
        << t;
  }
}

TEST(Score, BatchSizeChangesNothing) {
  const EvalData data = random_data(150, 4);
  for (const Mode& mode : {Mode{ModeKind::chunked}, Mode{ModeKind::sliding}, Mode{ModeKind::document},
                           Mode{ModeKind::document_sliding}, Mode{ModeKind::ttt_scalars}}) {
    std::vector<std::uint32_t> first;
    for (const std::int64_t batch_tokens : {1, 16, 7 * 16, 32 * 16, 100000}) {
      FakeModel model(kVocab);
      EvalSettings options = settings(16, 4, batch_tokens);
      options.ttt.chunk_tokens = 32;
      const auto row = run_mode(data, mode, options, model, &model);
      ASSERT_TRUE(row);
      EXPECT_LE(model.largest_batch, std::max<std::int64_t>(batch_tokens, 16));
      if (first.empty()) first = row->target_units;
      EXPECT_EQ(row->target_units, first) << mode_name(mode) << " " << batch_tokens;
    }
  }
}

TEST(Score, CompatDropsTheTailAndSaysSo) {
  EvalData data = random_data(101, 5);
  data.source_bytes = 1000;
  FakeModel model(kVocab);
  EvalSettings options = settings(16, 4);
  const auto whole = run_mode(data, {ModeKind::chunked}, options, model, nullptr);
  options.compat = true;
  const auto cut = run_mode(data, {ModeKind::chunked}, options, model, nullptr);
  ASSERT_TRUE(whole && cut);
  EXPECT_EQ(cut->targets, 96);
  EXPECT_EQ(cut->dropped_targets, 5);
  EXPECT_EQ(cut->bytes, charged_bytes(data, 96));
  EXPECT_TRUE(std::equal(cut->target_units.begin(), cut->target_units.end(), whole->target_units.begin()));
  EXPECT_TRUE(whole->bpb_source());
  EXPECT_FALSE(cut->bpb_source());
  options.window = 102;
  EXPECT_EQ(run_mode(data, {ModeKind::chunked}, options, model, nullptr).error().code, ErrorCode::bad_data);
}

TEST(Score, PublishedScalarsTttOrderAndRates) {
  const EvalData data = random_data(150, 6);
  FakeModel model(kVocab);
  EvalSettings options = settings(8, 4);
  options.ttt.chunk_tokens = 32;
  options.ttt.epochs = 2;
  options.ttt.batch_windows = 3;
  options.ttt.lr = 0.01;
  const auto row = run_mode(data, {ModeKind::ttt_scalars}, options, model, &model);
  ASSERT_TRUE(row);
  // 5 chunks, the last untrained; 4 windows of 8 in a chunk are steps of 3 and 1 window.
  ASSERT_EQ(model.steps.size(), 4u * 2 * 2);
  EXPECT_EQ(row->updates, 16);
  for (std::size_t c = 0; c < 4; ++c)
    for (std::size_t i = 0; i < 4; ++i) {
      const FakeModel::Step& step = model.steps[c * 4 + i];
      const std::size_t start = c * 32 + (i % 2) * 24;
      EXPECT_EQ(step.windows, i % 2 ? 1 : 3);
      EXPECT_EQ(step.length, 8);
      EXPECT_TRUE(
          std::equal(step.inputs.begin(), step.inputs.end(), data.tokens.begin() + static_cast<std::ptrdiff_t>(start)));
      EXPECT_TRUE(std::equal(step.targets.begin(), step.targets.end(),
                             data.tokens.begin() + static_cast<std::ptrdiff_t>(start) + 1));
      EXPECT_NEAR(step.learning_rate, 0.01 * 0.5 * (1 + std::cos(std::numbers::pi * static_cast<double>(c) / 4)),
                  1e-12);
    }
  EXPECT_EQ(ttt_learning_rate(TttConfig{}, 0, 1), 0.005);
}

TEST(Score, LearningRateZeroRunsTheSameCodeAndIsPlainSliding) {
  const EvalData data = random_data(150, 7);
  FakeModel model(kVocab);
  EvalSettings options = settings(8, 4);
  options.ttt.chunk_tokens = 32;
  const auto sliding = run_mode(data, {ModeKind::sliding}, options, model, nullptr);
  const auto learning = run_mode(data, {ModeKind::ttt_scalars}, options, model, &model);
  const auto still = run_mode(data, {ModeKind::ttt_scalars, true}, options, model, &model);
  ASSERT_TRUE(sliding && learning && still);
  EXPECT_EQ(still->target_units, sliding->target_units);
  EXPECT_NE(learning->target_units, sliding->target_units);
  EXPECT_EQ(still->updates, learning->updates);
  EXPECT_EQ(still->learning_rate, 0);
  // The first chunk is scored before anything is learnt.
  EXPECT_TRUE(
      std::equal(still->target_units.begin(), still->target_units.begin() + 32, learning->target_units.begin()));
}

TEST(Score, ModesHaveNames) {
  for (const Mode& mode : ladder_modes(true, true)) EXPECT_EQ(*mode_from_name(mode_name(mode)), mode);
  const auto wrong = mode_from_name("slidng");
  EXPECT_EQ(wrong.error().code, ErrorCode::usage);
  EXPECT_NE(wrong.error().message.find("did you mean 'sliding'"), std::string::npos);
}

TEST(Score, ReportsHaveTheirKeys) {
  const EvalData data = random_data(60, 8);
  FakeModel model(kVocab);
  std::vector<ScoreRow> rows;
  for (const Mode& mode : ladder_modes(true, false))
    rows.push_back(*run_mode(data, mode, settings(8, 4), model, &model));
  const auto one = eval_json({rows[0]}, data);
  for (const char* key :
       {"mode", "bpb", "nats_per_token", "targets", "bytes", "documents", "dropped_targets", "engine"})
    EXPECT_TRUE(one.contains(key)) << key;
  EXPECT_TRUE(one["ledger_sha256"].is_null());
  const auto ladder = eval_json(rows, data);
  ASSERT_EQ(ladder["rows"].size(), 14u);
  EXPECT_EQ(ladder["rows"][0]["difference"], 0.0);
  EXPECT_EQ(ladder["rows"][4]["mode"], "ttt:scalars@lr=0");
  EXPECT_EQ(ladder["rows"][4]["learning_rate"], 0.0);
  EXPECT_EQ(ladder["rows"][4]["against"], "chunked");
  EXPECT_EQ(ladder["rows"][5]["against"], "ttt:scalars@lr=0");
  EXPECT_LE(ladder["rows"][5]["difference_low"], ladder["rows"][5]["difference"]);
  EXPECT_GE(ladder["rows"][5]["difference_high"], ladder["rows"][5]["difference"]);
  const std::string text = eval_text(rows, data);
  EXPECT_NE(text.find("ttt:scalars@lr=0"), std::string::npos);
  EXPECT_NE(text.find("the learning"), std::string::npos);
}

TEST(Score, ImpossibleRequestsAreErrors) {
  const EvalData data = random_data(60, 9);
  FakeModel model(kVocab);
  EXPECT_EQ(run_mode(data, {ModeKind::sliding}, settings(8, 9), model, nullptr).error().code, ErrorCode::usage);
  EXPECT_EQ(run_mode(data, {ModeKind::ttt_scalars}, settings(8, 4), model, nullptr).error().code, ErrorCode::usage);
  EvalData silent = data;
  silent.tokens.assign(10, silent.bos);
  EXPECT_EQ(run_mode(silent, {ModeKind::chunked}, settings(8, 4), model, nullptr).error().code, ErrorCode::bad_data);
  ModelConfig gpt2;
  gpt2.backbone = Backbone::gpt2;
  gpt2.context = 512;
  EvalConfig eval;
  EXPECT_EQ(*resolve_window(eval, gpt2), 512);
  eval.window = 513;
  EXPECT_EQ(resolve_window(eval, gpt2).error().code, ErrorCode::usage);
  gpt2.backbone = Backbone::unet;
  EXPECT_EQ(*resolve_window(eval, gpt2), 513);
}

}  // namespace
}  // namespace par5
