// The bitstream as a file: what it says comes back, and damage of every kind is named.
#include "eval/coding/bitstream.h"

#include <gtest/gtest.h>

#include <random>

#include "core/file.h"
#include "eval/coding/coded_text.h"
#include "eval/engine_scorer.h"
#include "eval/exact_learner.h"
#include "eval/score.h"
#include "tests/engine/test_models.h"

namespace par5 {
namespace {

using namespace testing_support;

constexpr std::uint16_t kBos = 1;

CodingModel small_model() {
  ModelConfig model = small_unet();
  model.layers = 2;
  CodingModel coding;
  coding.artifact.model = random_model(model, quantizer_of(Grid::quinary, Granularity::group, 24), 3);
  coding.artifact.temperature = 1.1;
  coding.id = artifact_id(as_bytes("a model's file"));
  return coding;
}

std::vector<std::uint16_t> text(std::int64_t targets) {
  std::vector<std::uint16_t> tokens = token_ids(targets + 1, 101, 5);
  for (std::size_t i = 0; i < tokens.size(); i += 11 + i % 7) tokens[i] = kBos;
  return tokens;
}

std::vector<CodingParameters> every_mode() {
  std::vector<CodingParameters> parameters;
  for (const auto& [kind, stride] : {std::pair{ModeKind::chunked, 16}, std::pair{ModeKind::sliding, 5},
                                     std::pair{ModeKind::document, 16}, std::pair{ModeKind::document_sliding, 3}})
    parameters.push_back({Arithmetic::fp32, {kind, false}, 16, stride, kBos});
  parameters.push_back({Arithmetic::int8, {ModeKind::chunked, false}, 16, 16, kBos});
  parameters.push_back({Arithmetic::fp32_adds, {ModeKind::sliding, false}, 16, 4, kBos});
  for (CodingParameters& one : parameters)
    if (!one.by_document()) one.bos = 1;  // not in the file: the default
  return parameters;
}

// Chunks shorter and longer than the stride, with and without a shorter window at their end.
std::vector<CodingParameters> every_mode_that_learns() {
  TttConfig scalars, model = model_learning(), online = online_learning(), phased = phased_learning();
  scalars.chunk_tokens = 40;
  scalars.batch_windows = 2;
  model.chunk_tokens = 7;
  model.lr = 0.02;
  model.matrix_factor = 0.5;
  online.chunk_tokens = 16;
  online.clip = 0.3;
  phased.lr = 0.02;
  phased.schedule = TttSchedule::cosine;
  return {{Arithmetic::fp32, {ModeKind::ttt_scalars}, 16, 16, kBos, scalars, 1e-3},
          {Arithmetic::fp32, {ModeKind::ttt_model}, 16, 10, kBos, model, 1e-4},
          {Arithmetic::fp32, {ModeKind::online}, 16, 5, kBos, online, 0},
          {Arithmetic::int8, {ModeKind::online}, 16, 5, kBos, online, 0},
          {Arithmetic::fp32_adds, {ModeKind::online}, 16, 16, kBos, online, 0},
          {Arithmetic::fp32, {ModeKind::ttt_phased}, 16, 6, kBos, phased, 1e-4, 2, 3},
          {Arithmetic::fp32, {ModeKind::ttt_phased}, 16, 16, kBos, phased, 1e-4, 3, 1000}};
}

EvalData data_of(const std::vector<std::uint16_t>& tokens) {
  EvalData data;
  data.tokens = tokens;
  data.token_bytes.bytes.assign(101, 3);
  data.token_bytes.leading_space.assign(101, 0);
  data.token_bytes.boundary.assign(101, 0);
  data.available_targets = static_cast<std::int64_t>(tokens.size()) - 1;
  return data;
}

// What eval makes of the text by the broker and its rounds, which know all of it.
ScoreRow evaluate(const CodingModel& model, const CodingParameters& parameters,
                  const std::vector<std::uint16_t>& tokens) {
  EvalSettings settings;
  settings.window = parameters.window;
  settings.stride = parameters.stride;
  settings.ttt = settings.ttt_model = settings.online = parameters.learning;
  settings.ttt_phased = {parameters.learning, parameters.phase_documents, parameters.phases};
  const double temperature = model.artifact.temperature;
  const EngineOptions options{parameters.arithmetic, "", 1};
  if (!parameters.learns()) {
    auto scorer = EngineScorer::create(model.artifact.model, options, temperature).value();
    return run_mode(data_of(tokens), parameters.mode, settings, *scorer, nullptr).value();
  }
  auto learner = ExactLearner::create(model.artifact.model, options, parameters.mode.kind, parameters.learning,
                                      parameters.z_loss, temperature)
                     .value();
  EngineScorer scorer(learner->engine(), temperature);
  return run_mode(data_of(tokens), parameters.mode, settings, scorer, learner.get()).value();
}

TEST(CodedText, EveryModeComesBackFromItsFileAtTheBitsThatEvalClaims) {
  const CodingModel model = small_model();
  const std::vector<std::uint16_t> tokens = text(150);
  for (const CodingParameters& parameters : every_mode())
    for (const std::int64_t lanes : {1, 4}) {
      const auto coded = encode_text(model, parameters, tokens, {"", 1, lanes});
      ASSERT_TRUE(coded) << coded.error().message;
      const bool one_lane = parameters.mode.kind == ModeKind::sliding;
      EXPECT_EQ(coded->bitstream.lanes.size(), one_lane ? 1u : static_cast<std::size_t>(lanes));
      const WrittenBitstream written = write_bitstream(coded->bitstream).value();
      EXPECT_EQ(written.sizes.total(), written.bytes.size());
      EXPECT_EQ(written.sizes.payload, coded->bitstream.payload.size());
      const auto read = read_bitstream(written.bytes, "x.p5b");
      ASSERT_TRUE(read) << read.error().message;
      EXPECT_EQ(write_bitstream(*read).value().bytes, written.bytes);
      for (const std::string& kernel : {kernel_names().front(), std::string("scalar")}) {
        const auto decoded = decode_text(model, *read, "x.p5b", {kernel, 1, 0});
        ASSERT_TRUE(decoded) << decoded.error().message;
        EXPECT_EQ(decoded->tokens, tokens) << mode_name(parameters.mode) << " " << kernel;
        EXPECT_EQ(decoded->kernel, kernel);
      }
      EXPECT_NEAR(evaluate(model, parameters, tokens).nats / std::numbers::ln2, coded->claimed_bits,
                  coded->claimed_bits * 1e-6);
      EXPECT_LE(static_cast<double>(written.sizes.payload), coded->claimed_bits / 8 * 1.0001 + 8);
    }
}

// The decoder has decoded tokens only, takes the same steps, and finds the same text: nothing was learnt from a target
// before it was scored. Under other kernels and threads too.
TEST(CodedText, ModesThatLearnComeBackAtTheBitsThatEvalClaims) {
  const CodingModel model = small_model();
  const std::vector<std::uint16_t> tokens = text(110);
  for (const CodingParameters& parameters : every_mode_that_learns()) {
    const std::string what = mode_name(parameters.mode) + " " + std::string(arithmetic_name(parameters.arithmetic));
    const auto coded = encode_text(model, parameters, tokens, {"", 1, 4});
    ASSERT_TRUE(coded) << coded.error().message;
    EXPECT_EQ(coded->bitstream.lanes.size(), 1u);
    const WrittenBitstream written = write_bitstream(coded->bitstream).value();
    EXPECT_LE(static_cast<double>(written.sizes.payload), coded->claimed_bits / 8 * 1.0001 + 8);
    const auto read = read_bitstream(written.bytes, "x.p5b");
    ASSERT_TRUE(read) << read.error().message;
    EXPECT_EQ(write_bitstream(*read).value().bytes, written.bytes);
    for (const auto& [kernel, threads] : {std::pair{kernel_names().front(), 2}, std::pair{std::string("scalar"), 1}}) {
      const auto decoded = decode_text(model, *read, "x.p5b", {kernel, static_cast<std::size_t>(threads), 0});
      ASSERT_TRUE(decoded) << decoded.error().message;
      EXPECT_EQ(decoded->tokens, tokens) << what << " " << kernel;
      EXPECT_EQ(decoded->updates, coded->updates);
    }
    const ScoreRow row = evaluate(model, parameters, tokens);
    EXPECT_NEAR(row.nats / std::numbers::ln2, coded->claimed_bits, coded->claimed_bits * 1e-6) << what;
    EXPECT_EQ(row.updates, coded->updates) << what;
    EXPECT_EQ(row.adapted_values, coded->adapted_values);
    CodingParameters still = parameters;
    still.mode = {ModeKind::sliding};
    EXPECT_NE(encode_text(model, still, tokens, {"", 1, 0})->claimed_bits, coded->claimed_bits) << what;
  }
}

// Whatever setting of the learner is another, the text does not come back.
TEST(CodedText, OtherSettingsOfTheLearnerAreNoticed) {
  const CodingModel model = small_model();
  const std::vector<std::uint16_t> tokens = text(150);
  for (const CodingParameters& parameters : every_mode_that_learns()) {
    if (parameters.arithmetic != Arithmetic::fp32) continue;
    const auto coded = encode_text(model, parameters, tokens, {"", 1, 0}).value();
    const auto refused = [&](const std::string& what, auto change) {
      Bitstream wrong = coded.bitstream;
      change(wrong.parameters);
      const auto decoded =
          decode_text(model, read_bitstream(write_bitstream(wrong)->bytes, "x.p5b").value(), "x.p5b", {"", 1, 0});
      ASSERT_FALSE(decoded) << mode_name(parameters.mode) << " " << what;
      EXPECT_EQ(decoded.error().code, ErrorCode::bad_data) << what;
    };
    refused("rate", [](CodingParameters& p) { p.learning.lr *= 1.5; });
    refused("momentum", [](CodingParameters& p) { p.learning.momentum = 0.5; });
    refused("decay", [](CodingParameters& p) { p.learning.decay += 0.1; });
    if (parameters.phased()) {
      refused("documents", [](CodingParameters& p) { p.phase_documents += 1; });
      refused("phases", [](CodingParameters& p) { p.phases -= 1; });
      refused("BOS", [](CodingParameters& p) { p.bos += 1; });
    } else {
      refused("chunk", [](CodingParameters& p) { p.learning.chunk_tokens += 1; });
    }
    refused("epochs", [](CodingParameters& p) { p.learning.epochs += 1; });
    refused("mode", [](CodingParameters& p) { p.mode.kind = ModeKind::sliding; });
    if (parameters.mode.kind == ModeKind::ttt_scalars) {
      refused("windows to a step", [](CodingParameters& p) { p.learning.batch_windows = 1; });
      refused("schedule", [](CodingParameters& p) { p.learning.schedule = TttSchedule::constant; });
    }
    if (parameters.mode.kind == ModeKind::ttt_model) {
      refused("optimiser", [](CodingParameters& p) { p.learning.optimizer = TttOptimizer::sgd; });
      refused("factor", [](CodingParameters& p) { p.learning.embedding_factor = 2; });
    }
    if (parameters.mode.kind != ModeKind::online) refused("z-loss", [](CodingParameters& p) { p.z_loss = 1; });
  }
  CodingParameters adam = every_mode_that_learns()[1];
  adam.learning.optimizer = TttOptimizer::adamw;
  EXPECT_EQ(encode_text(model, adam, tokens, {"", 1, 0}).error().code, ErrorCode::usage);
}

TEST(CodedText, AnotherArtifactIsNamed) {
  const CodingModel model = small_model();
  CodingModel other = model;
  other.id = artifact_id(as_bytes("another model's file"));
  const auto coded = encode_text(model, every_mode()[0], text(40), {"", 1, 0}).value();
  const auto decoded = decode_text(other, coded.bitstream, "x.p5b", {"", 1, 0});
  ASSERT_FALSE(decoded);
  EXPECT_NE(decoded.error().message.find("another artifact"), std::string::npos) << decoded.error().message;
  // The same name with other weights: the text that comes out has another checksum, or the payload does not fit.
  other.id = model.id;
  other.artifact.temperature = 0.7;
  EXPECT_FALSE(decode_text(other, coded.bitstream, "x.p5b", {"", 1, 0}));
}

TEST(CodedText, GoesOnFromWhatWasSaved) {
  const CodingModel model = small_model();
  const std::vector<std::uint16_t> tokens = text(120);
  const TemporaryFolder folder = TemporaryFolder::create().value();
  const std::string progress = join_path(folder.path(), "decode.progress");
  for (const CodingParameters& parameters : every_mode()) {
    const Bitstream bitstream = encode_text(model, parameters, tokens, {"", 1, 3}).value().bitstream;
    // A decoder whose bitstream has another token checksum ends with an error and leaves its last state behind.
    Bitstream wrong = bitstream;
    wrong.payload.resize(wrong.payload.size() / 2);
    ASSERT_FALSE(decode_text(model, wrong, "x.p5b", {"", 1, 0}, progress, 0));
    ASSERT_TRUE(file_exists(progress));
    const auto foreign = decode_text(model, bitstream, "x.p5b", {"", 1, 0}, progress, 0);
    ASSERT_FALSE(foreign) << "the saved state belongs to another bitstream";
    ASSERT_TRUE(remove_file(progress));

    wrong = bitstream;
    wrong.lanes.back().targets += 1;  // one target too many: everything before it is decoded and saved
    ASSERT_FALSE(decode_text(model, wrong, "x.p5b", {"", 1, 0}, progress, 0));
    ASSERT_TRUE(file_exists(progress));
    const auto resumed = decode_text(model, wrong, "x.p5b", {"", 1, 0}, progress, 0);
    EXPECT_FALSE(resumed);
    ASSERT_TRUE(remove_file(progress));
    const auto decoded = decode_text(model, bitstream, "x.p5b", {"", 1, 0}, progress, 0);
    ASSERT_TRUE(decoded) << decoded.error().message;
    EXPECT_EQ(decoded->tokens, tokens);
    EXPECT_FALSE(file_exists(progress)) << "nothing is left behind";
  }
}

// In the middle of windows and chunks, with what has been learnt. A bitstream of some targets too few leaves behind
// what a decoder of the whole text has at that place.
TEST(CodedText, GoesOnFromWhatWasLearnt) {
  const CodingModel model = small_model();
  const std::vector<std::uint16_t> tokens = text(110);
  const TemporaryFolder folder = TemporaryFolder::create().value();
  const std::string progress = join_path(folder.path(), "decode.progress");
  for (const CodingParameters& parameters : every_mode_that_learns()) {
    const Bitstream bitstream = encode_text(model, parameters, tokens, {"", 1, 0}).value().bitstream;
    Bitstream shorter = bitstream;
    shorter.lanes.back().targets -= 13;
    ASSERT_FALSE(decode_text(model, shorter, "x.p5b", {"", 1, 0}, progress, 0));
    const auto whole = decode_text(model, bitstream, "x.p5b", {"", 1, 0}, progress);
    ASSERT_TRUE(whole) << whole.error().message;
    EXPECT_EQ(whole->tokens, tokens);
    EXPECT_EQ(whole->resumed_targets, 97);
    EXPECT_FALSE(file_exists(progress));
  }
}

TEST(Bitstream, EveryFlipAndEveryCutIsNamed) {
  const CodingModel model = small_model();
  std::vector<CodingParameters> all = every_mode();
  for (const CodingParameters& parameters : every_mode_that_learns()) all.push_back(parameters);
  for (const CodingParameters& parameters : all) {
    const auto coded = encode_text(model, parameters, text(60), {"", 1, 3}).value();
    const WrittenBitstream written = write_bitstream(coded.bitstream).value();
    for (std::size_t bit = 0; bit < written.bytes.size() * 8; ++bit) {
      std::vector<std::byte> flipped = written.bytes;
      flipped[bit / 8] ^= static_cast<std::byte>(1 << bit % 8);
      const auto read = read_bitstream(flipped, "x.p5b");
      ASSERT_FALSE(read) << "bit " << bit;
      EXPECT_EQ(read.error().code, ErrorCode::bad_data);
      EXPECT_TRUE(read.error().offset) << read.error().message;
      EXPECT_NE(read.error().message.find("x.p5b"), std::string::npos);
    }
    for (std::size_t size = 0; size < written.bytes.size(); ++size)
      ASSERT_FALSE(read_bitstream(std::span(written.bytes).first(size), "x.p5b")) << size;
    std::vector<std::byte> longer = written.bytes;
    longer.push_back(std::byte{0});
    EXPECT_FALSE(read_bitstream(longer, "x.p5b"));
  }
}

TEST(Bitstream, NoiseIsRefused) {
  std::mt19937_64 random(1);
  for (int round = 0; round < 2000; ++round) {
    std::vector<std::byte> noise(random() % 80);
    for (std::byte& byte : noise) byte = static_cast<std::byte>(random());
    const std::string magic = "p5bs\x01\x01";
    for (std::size_t i = 0; i < std::min(noise.size(), magic.size()); ++i) noise[i] = static_cast<std::byte>(magic[i]);
    EXPECT_FALSE(read_bitstream(noise, "noise"));
  }
}

TEST(SplitLanes, CoverTheTextWithWholeWindowsAndDocuments) {
  for (const std::int64_t targets : {1, 15, 16, 17, 160, 161}) {
    const std::vector<std::uint16_t> tokens = text(targets);
    for (const CodingParameters& parameters : every_mode())
      for (const std::int64_t lanes : {1, 2, 7, 100}) {
        const auto ranges = split_lanes(tokens, parameters, lanes);
        std::int64_t next = 1;
        for (const auto& [first, end] : ranges) {
          EXPECT_EQ(first, next);
          EXPECT_GT(end, first);
          if (first > 1 && parameters.by_document()) {
            EXPECT_EQ(tokens[static_cast<std::size_t>(first - 1)], kBos);
          } else if (first > 1) {
            EXPECT_EQ((first - 1) % parameters.window, 0);
          }
          next = end;
        }
        EXPECT_EQ(next, targets + 1);
        EXPECT_LE(static_cast<std::int64_t>(ranges.size()), lanes);
      }
  }
}

}  // namespace
}  // namespace par5
