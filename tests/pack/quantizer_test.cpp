#include "pack/quantizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include "core/half.h"
#include "core/hash.h"

namespace par5 {
namespace {

constexpr Grid kGrids[] = {Grid::binary, Grid::ternary, Grid::quinary, Grid::septenary, Grid::int4,
                           Grid::int5,   Grid::int6,    Grid::int7,    Grid::int8};

QuantizerConfig config_of(Grid grid, Granularity granularity, std::int64_t group) {
  QuantizerConfig config;
  config.grid = grid;
  config.granularity = granularity;
  config.group = group;
  return config;
}

// The same numbers with every standard library: mt19937 and exact arithmetic.
std::vector<float> random_weights(std::size_t count, unsigned seed, float spread = 0.05f) {
  std::mt19937 random(seed);
  std::vector<float> weights(count);
  for (float& weight : weights) {
    const auto a = static_cast<float>(static_cast<std::int32_t>(random()) / 256),
               b = static_cast<float>(static_cast<std::int32_t>(random()) / 256);
    weight = (a * 0x1p-23f) * (b * 0x1p-23f) * spread;
  }
  return weights;
}

// DESIGN's definition once more, as slowly as it reads: lanes by strides, the tree by recursion, rounding in double.
float sum_of_lanes(const std::vector<float>& lanes, std::size_t first, std::size_t stride) {
  if (stride == 16) return lanes[first];
  const float left = sum_of_lanes(lanes, first, stride * 2);
  const float right = sum_of_lanes(lanes, first + stride, stride * 2);
  return left + right;
}
float slow_absolute_sum(std::span<const float> group) {
  std::vector<float> lanes(16, 0.0f);
  for (std::size_t lane = 0; lane < 16; ++lane)
    for (std::size_t i = lane; i < group.size(); i += 16) lanes[lane] = lanes[lane] + std::fabs(group[i]);
  return sum_of_lanes(lanes, 0, 1);
}

int slow_round_half_even(float value) {
  const double exact = value, below = std::floor(exact), part = exact - below;
  const bool up = part > 0.5 || (part == 0.5 && std::fmod(below, 2.0) != 0.0);
  return static_cast<int>(below) + (up ? 1 : 0);
}

QuantizedTensor slow_quantize(const Shape& shape, std::span<const float> weights, const QuantizerConfig& config) {
  QuantizedTensor tensor{shape, config, {}, {}, {}};
  std::size_t size = weights.size();
  if (config.granularity == Granularity::row) size = static_cast<std::size_t>(shape[1]);
  if (config.granularity == Granularity::group) size = static_cast<std::size_t>(config.group);
  const bool absmax = config.grid >= Grid::int4;
  const int limit = absmax ? (1 << (static_cast<int>(config.grid) - static_cast<int>(Grid::int4) + 3)) - 1
                           : std::vector<int>{1, 1, 2, 3}[static_cast<std::size_t>(config.grid)];
  for (std::size_t begin = 0; begin < weights.size(); begin += size) {
    const auto group = weights.subspan(begin, size);
    float scale = 0.0f;
    if (absmax) {
      for (const float weight : group) scale = std::max(scale, std::fabs(weight));
      scale = scale / static_cast<float>(limit);
    } else {
      scale = slow_absolute_sum(group) / static_cast<float>(size);
    }
    tensor.scales.push_back(half_from_float(std::max(scale, std::ldexp(1.0f, -24))));
    const float stored = float_from_half(tensor.scales.back());
    for (const float weight : group) {
      int code = config.grid == Grid::binary ? (weight >= 0 ? 1 : -1) : 0;
      if (config.grid != Grid::binary) {
        const float ratio = weight / stored;
        code = ratio > 1e6f ? limit : ratio < -1e6f ? -limit : std::clamp(slow_round_half_even(ratio), -limit, limit);
      }
      tensor.codes.push_back(static_cast<std::int8_t>(code));
    }
  }
  return tensor;
}

bool same_bits(std::span<const float> a, std::span<const float> b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size_bytes()) == 0;
}

// quantize, dequantize and quantize_dequantize against the slow reference, on 1 and 3 threads.
void expect_as_defined(const Shape& shape, std::span<const float> weights, const QuantizerConfig& config) {
  const QuantizedTensor expected = slow_quantize(shape, weights, config);
  std::vector<float> values(weights.size());
  for (std::size_t i = 0; i < values.size(); ++i)
    values[i] = static_cast<float>(expected.codes[i]) *
                float_from_half(expected.scales[i / (values.size() / expected.scales.size())]);
  for (const std::size_t threads : {1u, 3u}) {
    const auto tensor = quantize("w", shape, weights, config, threads);
    ASSERT_TRUE(tensor) << to_string(tensor.error());
    ASSERT_EQ(tensor->scales, expected.scales);
    ASSERT_EQ(tensor->codes, expected.codes);
    std::vector<float> out(weights.size());
    dequantize(*tensor, out, threads);
    ASSERT_TRUE(same_bits(out, values));
    std::vector<float> direct(weights.size(), 7.0f);
    ASSERT_TRUE(quantize_dequantize("w", shape, weights, config, direct, threads));
    ASSERT_TRUE(same_bits(direct, values));
  }
}

TEST(Quantizer, AgreesWithTheDefinitionForEveryGridGranularityAndOddSize) {
  const std::pair<Shape, std::int64_t> cases[] = {{{1, 1}, 1},   {{3, 5}, 5},     {{7, 17}, 17},  {{5, 33}, 11},
                                                  {{4, 64}, 16}, {{6, 192}, 192}, {{9, 384}, 48}, {{700, 130}, 65}};
  for (const Grid grid : kGrids)
    for (const Granularity granularity : {Granularity::group, Granularity::row, Granularity::tensor})
      for (const auto& [shape, group] : cases) {
        SCOPED_TRACE(std::string(grid_name(grid)) + " " + to_string(shape) + " group " + std::to_string(group));
        const auto weights =
            random_weights(static_cast<std::size_t>(element_count(shape)), 11 + static_cast<unsigned>(group));
        expect_as_defined(shape, weights, config_of(grid, granularity, group));
      }
}

TEST(Quantizer, RoundsTiesToTheEvenCode) {
  // The eight magnitudes sum to 8: the scale is 1 and w / s is w.
  const std::vector<float> weights = {0.5f, -0.5f, 1.5f, -1.5f, 2.5f, 1.5f, 0.0f, 0.0f};
  const auto tensor = quantize("w", {1, 8}, weights, config_of(Grid::septenary, Granularity::row, 8));
  ASSERT_TRUE(tensor);
  EXPECT_EQ(tensor->scales, std::vector<std::uint16_t>{0x3c00});
  EXPECT_EQ(tensor->codes, (std::vector<std::int8_t>{0, 0, 2, -2, 2, 2, 0, 0}));
  const auto ternary = quantize("w", {1, 8}, weights, config_of(Grid::ternary, Granularity::row, 8));
  ASSERT_TRUE(ternary);
  EXPECT_EQ(ternary->codes, (std::vector<std::int8_t>{0, 0, 1, -1, 1, 1, 0, 0}));
}

TEST(Quantizer, ZeroGroupsStayZeroAndSignedZeroIsPositiveInBinary) {
  std::vector<float> weights(64, 0.0f);
  weights[3] = -0.0f;
  for (const Grid grid : kGrids) {
    SCOPED_TRACE(grid_name(grid));
    expect_as_defined({2, 32}, weights, config_of(grid, Granularity::group, 16));
    const auto tensor = quantize("w", {2, 32}, weights, config_of(grid, Granularity::group, 16));
    EXPECT_EQ(tensor->scales, std::vector<std::uint16_t>(4, 1));
    EXPECT_EQ(tensor->codes, std::vector<std::int8_t>(64, grid == Grid::binary ? 1 : 0));
  }
}

TEST(Quantizer, HandlesOneHugeWeightAndSubnormals) {
  auto weights = random_weights(192, 5);
  weights[100] = 60000.0f;
  auto tiny = random_weights(192, 6, 1e-38f);
  tiny[0] = std::numeric_limits<float>::denorm_min();
  tiny[1] = -std::numeric_limits<float>::denorm_min();
  auto small = random_weights(192, 7, 3e-7f);  // scales among fp16's subnormals
  for (const Grid grid : kGrids)
    for (const auto& values : {weights, tiny, small}) {
      SCOPED_TRACE(grid_name(grid));
      expect_as_defined({2, 96}, values, config_of(grid, Granularity::group, 96));
    }
}

TEST(Quantizer, NamesTheFirstWeightThatIsNotFinite) {
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
                          -std::numeric_limits<float>::infinity()})
    for (const Grid grid : kGrids) {
      auto weights = random_weights(40 * 4096, 8);
      weights[100001] = bad;
      weights[100777] = bad;
      std::vector<float> out(weights.size());
      const QuantizerConfig config = config_of(grid, Granularity::group, 64);
      const auto tensor = quantize("blocks.0.w", {40, 4096}, weights, config, 3);
      ASSERT_FALSE(tensor);
      EXPECT_EQ(tensor.error().code, ErrorCode::bad_data);
      EXPECT_EQ(tensor.error().message, "weight 100001 of tensor 'blocks.0.w' is not finite");
      EXPECT_EQ(tensor.error().key, "blocks.0.w");
      const auto status = quantize_dequantize("blocks.0.w", {40, 4096}, weights, config, out, 2);
      ASSERT_FALSE(status);
      EXPECT_EQ(status.error().message, tensor.error().message);
    }
}

TEST(Quantizer, RefusesScalesBeyondFp16) {
  std::vector<float> weights(64, 1.0f);
  std::fill(weights.begin() + 32, weights.end(), 3e38f);  // the sum overflows though every weight is finite
  const auto tensor = quantize("w", {2, 32}, weights, config_of(Grid::quinary, Granularity::group, 16));
  ASSERT_FALSE(tensor);
  EXPECT_EQ(tensor.error().code, ErrorCode::bad_data);
  EXPECT_THAT(tensor.error().message, testing::HasSubstr("scale 2 of tensor 'w'"));
  EXPECT_THAT(tensor.error().message, testing::HasSubstr("too large for fp16"));
  // 65,519 still rounds to 65,504; 65,520 does not.
  EXPECT_TRUE(
      quantize("w", {1, 2}, std::vector<float>{65519.0f, -65519.0f}, config_of(Grid::binary, Granularity::row, 1)));
  EXPECT_FALSE(
      quantize("w", {1, 2}, std::vector<float>{65520.0f, -65520.0f}, config_of(Grid::binary, Granularity::row, 1)));
}

TEST(Quantizer, RefusesShapesThatCannotBe) {
  const std::vector<float> weights(12, 1.0f);
  const QuantizerConfig config = config_of(Grid::quinary, Granularity::group, 5);
  EXPECT_EQ(quantize("w", {3, 4}, weights, config).error().code, ErrorCode::usage);
  EXPECT_EQ(quantize("w", {12}, weights, config).error().code, ErrorCode::bad_data);
  EXPECT_EQ(quantize("w", {0, 4}, {}, config).error().code, ErrorCode::bad_data);
  EXPECT_EQ(quantize("w", {4, 5}, weights, config).error().code, ErrorCode::internal);
  std::vector<float> room(11);
  EXPECT_EQ(quantize_dequantize("w", {3, 4}, weights, config_of(Grid::quinary, Granularity::row, 1), room).error().code,
            ErrorCode::internal);
}

// One pinned result: a machine, compiler or rewrite that changes a single bit of it changes what models mean.
TEST(Quantizer, GivesTheSameBitsEverywhere) {
  const auto weights = random_weights(96 * 384, 99);
  const std::uint64_t expected[] = {3711192159121234327u,  11864691995556420737u, 14759556733709488744u,
                                    17951649936020266885u, 3502151685612700618u,  15979281260454071233u,
                                    3957625327662956573u,  18417447578793372978u, 4550541122140248934u};
  for (const Grid grid : kGrids) {
    SCOPED_TRACE(grid_name(grid));
    const auto tensor = quantize("w", {96, 384}, weights, config_of(grid, Granularity::group, 96));
    ASSERT_TRUE(tensor);
    const std::uint64_t hash =
        xxh3_64(std::as_bytes(std::span(tensor->codes))) ^ (3 * xxh3_64(std::as_bytes(std::span(tensor->scales))));
    EXPECT_EQ(hash, expected[static_cast<std::size_t>(grid)]);
  }
}

}  // namespace
}  // namespace par5
