// Token sequences through the coder and back: every rule of windows, every kernel, lanes of unlike length.
#include "eval/coding/token_coder.h"

#include <gtest/gtest.h>

#include "eval/plan.h"
#include "tests/engine/test_models.h"

namespace par5 {
namespace {

using namespace testing_support;

using Lanes = std::vector<std::vector<std::uint16_t>>;

StoredModel small_model() {
  ModelConfig model = small_unet();
  model.layers = 2;
  return random_model(model, quantizer_of(Grid::quinary, Granularity::group, 24), 3);
}

constexpr std::uint16_t kBos = 1;

// Lanes with a BOS now and then.
Lanes lanes_of(std::vector<std::int64_t> lengths, std::int64_t vocab) {
  Lanes lanes;
  for (const std::int64_t length : lengths) {
    lanes.push_back(token_ids(length, vocab, lanes.size() + 5));
    for (std::size_t i = 0; i < lanes.back().size(); i += 7 + i % 5) lanes.back()[i] = kBos;
  }
  return lanes;
}

Result<EncodedTokens> encode(Engine& engine, const WindowRule& rule, const Lanes& lanes) {
  TokenCoder coder(engine, 0.9, rule);
  const std::vector<std::span<const std::uint16_t>> spans(lanes.begin(), lanes.end());
  return coder.encode(spans, nullptr);
}

std::vector<LaneStart> starts_of(const Lanes& lanes) {
  std::vector<LaneStart> starts;
  for (const auto& lane : lanes) starts.push_back({lane[0], static_cast<std::int64_t>(lane.size()) - 1});
  return starts;
}

std::vector<WindowRule> rules() {
  return {{16, 16, false, kBos}, {16, 3, false, kBos}, {16, 1, false, kBos}, {16, 16, true, kBos},
          {16, 4, true, kBos},   {1, 1, false, kBos},  {64, 64, false, kBos}};
}

TEST(WindowRule, GivesTheWindowsOfThePlans) {
  const std::vector<std::uint16_t> tokens = lanes_of({301}, 50)[0];
  for (const WindowRule& rule : rules()) {
    const auto plan = rule.by_document ? document_plan(tokens, 300, kBos, rule.window, rule.stride).value()
                                       : sliding_plan(300, rule.window, rule.stride).value();
    std::int64_t start = 0;
    std::int64_t target = 1;
    for (const Window& window : plan)
      for (std::int64_t t = window.first_target(); t < window.end_target(); ++t, ++target) {
        ASSERT_EQ(t, target);
        start = rule.next_start(start, target, tokens[static_cast<std::size_t>(target - 1)]);
        ASSERT_EQ(start, window.start) << "target " << target << ", stride " << rule.stride;
      }
    EXPECT_EQ(target, 301);
  }
}

TEST(TokenCoder, RoundTripsEveryRuleWithOtherKernelsThreadsAndArithmetics) {
  const StoredModel model = small_model();
  const Lanes one = lanes_of({101}, model.model.vocab), several = lanes_of({30, 1, 53, 2, 52}, model.model.vocab);
  for (const Arithmetic arithmetic : {Arithmetic::fp32, Arithmetic::int8}) {
    Engine encoder = make_engine(model, arithmetic, "");
    for (const WindowRule& rule : rules())
      for (const Lanes& lanes : {one, several}) {
        const auto encoded = encode(encoder, rule, lanes);
        ASSERT_TRUE(encoded) << encoded.error().message;
        EXPECT_LE(static_cast<double>(encoded->payload.size()), encoded->claimed_bits / 8 * 1.0001 + 8);
        EXPECT_GE(static_cast<double>(encoded->payload.size()), encoded->claimed_bits / 8 - 1);
        const std::vector<std::string> kernels =
            rule.window == 16 && rule.stride == 3 ? kernel_names() : std::vector<std::string>{"scalar"};
        for (const std::string& kernel : kernels) {
          Engine engine = make_engine(model, arithmetic, kernel);
          TokenCoder decoder(engine, 0.9, rule);
          const auto decoded = decoder.decode(starts_of(lanes), encoded->payload, nullptr);
          ASSERT_TRUE(decoded) << decoded.error().message;
          EXPECT_EQ(*decoded, lanes) << kernel << " window " << rule.window << " stride " << rule.stride;
        }
      }
  }
}

TEST(TokenCoder, CodesLearnedPositionsToo) {
  const StoredModel model = random_model(small_gpt2(), quantizer_of(Grid::ternary, Granularity::row, 1), 8);
  Engine engine = make_engine(model, Arithmetic::fp32, "");
  const Lanes lanes = lanes_of({170, 40}, model.model.vocab);
  const WindowRule rule{150, 50, false, kBos};
  const auto encoded = encode(engine, rule, lanes);
  ASSERT_TRUE(encoded);
  TokenCoder decoder(engine, 0.9, rule);
  EXPECT_EQ(decoder.decode(starts_of(lanes), encoded->payload, nullptr).value(), lanes);
  EXPECT_FALSE(encode(engine, {151, 151, false, kBos}, lanes)) << "beyond the learned positions";
}

TEST(TokenCoder, GoesOnFromEveryCheckpoint) {
  const StoredModel model = small_model();
  Engine engine = make_engine(model, Arithmetic::fp32, "");
  const Lanes lanes = lanes_of({60, 20, 41}, model.model.vocab);
  for (const WindowRule& rule : {WindowRule{16, 5, true, kBos}, WindowRule{16, 16, false, kBos}}) {
    const auto encoded = encode(engine, rule, lanes);
    TokenCoder decoder(engine, 0.9, rule);
    std::vector<DecodeState> states;
    ASSERT_TRUE(decoder.decode(starts_of(lanes), encoded->payload, nullptr, nullptr, [&](const DecodeState& state) {
      states.push_back(state);
      return Status();
    }));
    ASSERT_EQ(states.size(), 59u);
    for (std::size_t i = 0; i < states.size(); i += 6) {
      const auto decoded = decoder.decode(starts_of(lanes), encoded->payload, nullptr, &states[i]);
      ASSERT_TRUE(decoded) << decoded.error().message;
      EXPECT_EQ(*decoded, lanes);
    }
    states[3].lanes[1].assign(100, 2);
    EXPECT_FALSE(decoder.decode(starts_of(lanes), encoded->payload, nullptr, &states[3]));
  }
}

// What is learnt before a window is the same on both sides, also when a decoder goes on from a checkpoint.
TEST(TokenCoder, LearningSeesTheSameTokensOnBothSides) {
  const StoredModel model = small_model();
  Engine engine = make_engine(model, Arithmetic::fp32, "");
  const Lanes lanes = lanes_of({80}, model.model.vocab);
  std::vector<std::vector<std::uint16_t>> seen[2];
  EncodedTokens encoded;
  for (const int side : {0, 1}) {
    TokenCoder coder(engine, 1.0, {16, 8, false, kBos}, [&, side](std::span<const std::uint16_t> known) {
      seen[side].emplace_back(known.begin(), known.end());
      return Status();
    });
    const std::span<const std::uint16_t> lane = lanes[0];
    if (side == 0)
      encoded = coder.encode({&lane, 1}, nullptr).value();
    else
      EXPECT_EQ(coder.decode(starts_of(lanes), encoded.payload, nullptr).value(), lanes);
  }
  EXPECT_EQ(seen[0], seen[1]);
  EXPECT_EQ(seen[0].size(), 9u);
}

TEST(TokenCoder, DamagedPayloadsAreNoticedOrDecodeToOtherTokens) {
  const StoredModel model = small_model();
  Engine engine = make_engine(model, Arithmetic::fp32, "");
  const Lanes lanes = lanes_of({60, 61}, model.model.vocab);
  const WindowRule rule{16, 16, false, kBos};
  const auto encoded = encode(engine, rule, lanes);
  TokenCoder decoder(engine, 0.9, rule);
  for (std::size_t cut : {std::size_t{1}, encoded->payload.size() / 2, encoded->payload.size()}) {
    const auto decoded =
        decoder.decode(starts_of(lanes), std::span(encoded->payload).first(encoded->payload.size() - cut), nullptr);
    EXPECT_TRUE(!decoded || *decoded != lanes) << cut;
  }
  for (std::size_t bit = 0; bit < encoded->payload.size() * 8; bit += 97) {
    std::vector<std::byte> flipped = encoded->payload;
    flipped[bit / 8] ^= static_cast<std::byte>(1 << bit % 8);
    const auto decoded = decoder.decode(starts_of(lanes), flipped, nullptr);
    EXPECT_TRUE(!decoded || *decoded != lanes) << bit;
  }
  std::vector<std::byte> longer = encoded->payload;
  longer.resize(longer.size() + 9);
  EXPECT_FALSE(decoder.decode(starts_of(lanes), longer, nullptr));
  Lanes hostile = lanes;
  hostile[0][7] = 60000;
  EXPECT_FALSE(encode(engine, rule, hostile));
}

TEST(TokenCoder, NothingToCodeTakesNoBytes) {
  const StoredModel model = small_model();
  Engine engine = make_engine(model, Arithmetic::fp32, "");
  const Lanes lanes = {{kBos}, {2}};
  const auto encoded = encode(engine, {16, 16, false, kBos}, lanes);
  ASSERT_TRUE(encoded);
  EXPECT_TRUE(encoded->payload.empty());
  TokenCoder decoder(engine, 0.9, {16, 16, false, kBos});
  EXPECT_EQ(decoder.decode(starts_of(lanes), {}, nullptr).value(), lanes);
}

}  // namespace
}  // namespace par5
