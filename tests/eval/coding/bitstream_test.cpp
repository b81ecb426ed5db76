// The bitstream as a file: what it says comes back, and damage of every kind is named.
#include "eval/coding/bitstream.h"

#include <gtest/gtest.h>

#include <random>

#include "core/file.h"
#include "eval/coding/coded_text.h"
#include "eval/engine_scorer.h"
#include "eval/score.h"
#include "tests/engine/test_models.h"

namespace par5 {
namespace {

using testing_support::quantizer_of;
using testing_support::random_model;
using testing_support::small_unet;
using testing_support::token_ids;

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
  for (CodingParameters& one : parameters)
    if (!one.by_document()) one.bos = 1;  // not in the file: the default
  return parameters;
}

TEST(CodedText, EveryModeComesBackFromItsFileAtTheBitsThatEvalClaims) {
  const CodingModel model = small_model();
  const std::vector<std::uint16_t> tokens = text(150);
  EvalData data;
  data.tokens = tokens;
  data.token_bytes.bytes.assign(101, 3);
  data.token_bytes.leading_space.assign(101, 0);
  data.token_bytes.boundary.assign(101, 0);
  data.available_targets = 150;
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
      EXPECT_EQ(read->parameters, parameters);
      for (const std::string& kernel : {kernel_names().front(), std::string("scalar")}) {
        const auto decoded = decode_text(model, *read, "x.p5b", {kernel, 1, 0});
        ASSERT_TRUE(decoded) << decoded.error().message;
        EXPECT_EQ(decoded->tokens, tokens) << mode_name(parameters.mode) << " " << kernel;
        EXPECT_EQ(decoded->kernel, kernel);
      }
      auto scorer =
          EngineScorer::create(model.artifact.model, {parameters.arithmetic, "", 1}, model.artifact.temperature).value();
      EvalSettings settings;
      settings.window = parameters.window;
      settings.stride = parameters.stride;
      const auto row = run_mode(data, parameters.mode, settings, *scorer, nullptr);
      ASSERT_TRUE(row);
      EXPECT_NEAR(row->nats / std::numbers::ln2, coded->claimed_bits, coded->claimed_bits * 1e-6);
      EXPECT_LE(static_cast<double>(written.sizes.payload), coded->claimed_bits / 8 * 1.0001 + 8);
    }
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

TEST(Bitstream, EveryFlipAndEveryCutIsNamed) {
  const CodingModel model = small_model();
  for (const CodingParameters& parameters : every_mode()) {
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
