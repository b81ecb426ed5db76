// Files with known answers: every grid, granularity and group size is found exactly, and nothing where there is
// nothing.
#include "pack/levels.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "core/half.h"
#include "pack/grid_fit.h"
#include "pack/quantizer.h"

namespace par5 {
namespace {

std::vector<float> gaussian(std::size_t count, unsigned seed, float deviation = 0.02f) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal(0.0f, deviation);
  std::vector<float> values(count);
  for (float& value : values) value = normal(generator);
  return values;
}

Tensor stored_as(DType dtype, const Shape& shape, std::span<const float> values) {
  if (dtype == DType::float32) return Tensor::from_floats("w", shape, values);
  Tensor tensor{"w", dtype, shape, std::vector<std::byte>(values.size() * 2)};
  for (std::size_t i = 0; i < values.size(); ++i) {
    const std::uint16_t bits = dtype == DType::float16 ? half_from_float(values[i]) : bfloat16_from_float(values[i]);
    tensor.data[2 * i] = static_cast<std::byte>(bits & 0xff);
    tensor.data[2 * i + 1] = static_cast<std::byte>(bits >> 8);
  }
  return tensor;
}

std::vector<float> on_grid(Grid grid, Granularity granularity, std::int64_t group, const Shape& shape, unsigned seed) {
  const std::vector<float> weights = gaussian(static_cast<std::size_t>(element_count(shape)), seed);
  QuantizerConfig config;
  config.grid = grid;
  config.granularity = granularity;
  config.group = group;
  std::vector<float> out(weights.size());
  EXPECT_TRUE(quantize_dequantize("w", shape, weights, config, out));
  return out;
}

TensorLevels levels_of(const Tensor& tensor) {
  auto found = find_levels(tensor.view(), 2);
  EXPECT_TRUE(found) << to_string(found.error());
  return *found;
}

struct Case {
  Grid grid;
  Granularity granularity;
  std::int64_t group;
  DType dtype;
};
void PrintTo(const Case& c, std::ostream* out) {
  *out << grid_name(c.grid) << " granularity " << static_cast<int>(c.granularity) << " group " << c.group << " "
       << dtype_name(c.dtype);
}

void expect_found(const Case& c, const Shape& shape) {
  const Tensor tensor =
      stored_as(c.dtype, shape, on_grid(c.grid, c.granularity, c.group, shape, static_cast<unsigned>(c.group) + 7));
  const TensorLevels levels = levels_of(tensor);
  ASSERT_TRUE(levels.finding) << "nothing found";
  EXPECT_EQ(grid_name(levels.finding->grid), grid_name(c.grid));
  EXPECT_EQ(levels.finding->granularity, c.granularity);
  if (c.granularity == Granularity::group) {
    EXPECT_EQ(levels.finding->group, c.group);
  }
  EXPECT_EQ(levels.finding->on_grid, levels.weights);
}

class KnownAnswers : public testing::TestWithParam<Case> {};
TEST_P(KnownAnswers, AreFound) { expect_found(GetParam(), {48, 768}); }

std::vector<Case> every_case() {
  std::vector<Case> cases;
  for (const Grid grid : kAllGrids)
    for (const DType dtype : {DType::float32, DType::bfloat16, DType::float16}) {
      cases.push_back({grid, Granularity::tensor, 1, dtype});
      cases.push_back({grid, Granularity::row, 1, dtype});
      for (const std::int64_t group : {8, 16, 48, 64, 128, 192, 384})
        cases.push_back({grid, Granularity::group, group, dtype});
    }
  return cases;
}
INSTANTIATE_TEST_SUITE_P(Grids, KnownAnswers, testing::ValuesIn(every_case()));

TEST(Levels, GroupsThatDoNotDivideEachOther) {
  for (const std::int64_t group : {10, 15, 19, 30, 57, 95})
    expect_found({Grid::ternary, Granularity::group, group, DType::float32}, {64, 570});
}

TEST(Levels, DenseWeightsAreNothing) {
  for (unsigned seed = 0; seed < 16; ++seed)
    for (const DType dtype : {DType::float32, DType::bfloat16, DType::float16}) {
      const Shape shape = seed % 4 == 0   ? Shape{64, 576}
                          : seed % 4 == 1 ? Shape{37, 380}
                          : seed % 4 == 2 ? Shape{576}
                                          : Shape{12, 64};
      const TensorLevels levels =
          levels_of(stored_as(dtype, shape, gaussian(static_cast<std::size_t>(element_count(shape)), seed)));
      EXPECT_FALSE(levels.finding) << dtype_name(dtype) << " " << to_string(shape) << ": "
                                   << grid_name(levels.finding->grid) << " group " << levels.finding->group << " share "
                                   << levels.share();
    }
}

TEST(Levels, OtherDenseDistributionsAreNothing) {
  std::mt19937 generator(5);
  std::uniform_real_distribution<float> uniform(-0.05f, 0.05f);
  std::student_t_distribution<float> heavy(3.0f);
  for (int i = 0; i < 3; ++i)
    for (const DType dtype : {DType::float32, DType::bfloat16}) {
      std::vector<float> flat(48 * 512), tailed(48 * 512), small(48 * 512);
      for (float& value : flat) value = uniform(generator);
      for (float& value : tailed) value = 0.02f * heavy(generator);
      for (float& value : small) value = 1.0f + uniform(generator);
      for (const auto& values : {flat, tailed, small}) {
        const TensorLevels levels = levels_of(stored_as(dtype, {48, 512}, values));
        EXPECT_FALSE(levels.finding) << dtype_name(dtype) << ": " << grid_name(levels.finding->grid) << " group "
                                     << levels.finding->group << " share " << levels.share();
      }
    }
}

TEST(Levels, Fp8ValuesAreNoGrid) {
  std::vector<float> values = gaussian(64 * 380, 3);
  for (float& value : values) value = round_to_e4m3(value);
  EXPECT_FALSE(levels_of(stored_as(DType::float32, {64, 380}, values)).finding);
}

TEST(Levels, PrunedWeightsAreNoGrid) {
  std::vector<float> values = gaussian(64 * 512, 4);
  for (std::size_t i = 0; i < values.size(); i += 2) values[i] = 0;
  EXPECT_FALSE(levels_of(stored_as(DType::float32, {64, 512}, values)).finding);
}

// Weights of ternary units that are zero or within `tolerance` (and what rounding does to both) of the scale that
// `planted` shows.
std::int64_t near_ternary(std::span<const float> values, std::span<const float> planted, std::size_t unit, DType dtype,
                          double tolerance) {
  const StoredPrecision precision = stored_precision(dtype);
  std::int64_t count = 0;
  for (std::size_t first = 0; first < values.size(); first += unit) {
    double scale = 0;
    for (const float value : planted.subspan(first, unit)) scale = std::max<double>(scale, std::fabs(value));
    for (const float value : values.subspan(first, unit)) {
      const float stored = dtype == DType::bfloat16 ? round_to_bfloat16(value) : value;
      count +=
          stored == 0 || std::fabs(std::fabs(stored) - scale) <= tolerance * scale + 3 * precision.half_unit(stored);
    }
  }
  return count;
}

// A part of a tensor's weights on the grid: every second row, every second weight. All that were planted are found, and
// besides them only what the dense part has there by chance: a scale is known to the tolerance, so within twice of it.
TEST(Levels, HalfTernaryMixtures) {
  const Shape shape{96, 768};
  for (const DType dtype : {DType::float32, DType::bfloat16})
    for (const auto& [granularity, group] : {std::pair{Granularity::tensor, 96 * 768},
                                             {Granularity::row, 768},
                                             {Granularity::group, 192},
                                             {Granularity::group, 128}})
      for (int kind = 0; kind < 2; ++kind) {
        const std::vector<float> planted = on_grid(Grid::ternary, granularity, group, shape, 11);
        const std::vector<float> dense = gaussian(planted.size(), 12);
        std::vector<float> values = planted;
        std::mt19937 coin(13);
        std::int64_t kept = 0;
        for (std::size_t i = 0; i < values.size(); ++i) {
          if ((kind == 0 ? i / 768 : coin()) % 2)
            values[i] = dense[i];
          else
            ++kept;
        }
        const TensorLevels levels = levels_of(stored_as(dtype, shape, values));
        const std::string which =
            "kind " + std::to_string(kind) + " group " + std::to_string(group) + " " + std::string(dtype_name(dtype));
        ASSERT_TRUE(levels.finding) << which;
        EXPECT_EQ(levels.finding->grid, Grid::ternary) << grid_name(levels.finding->grid);
        EXPECT_EQ(levels.finding->granularity, granularity) << which << " found " << levels.finding->group;
        EXPECT_EQ(levels.finding->group, group) << which;
        EXPECT_GE(levels.finding->on_grid, kept) << which;
        EXPECT_LE(levels.finding->on_grid,
                  near_ternary(values, planted, static_cast<std::size_t>(group), dtype, 2 * kGridTolerance))
            << which;
        EXPECT_LT(static_cast<double>(levels.finding->on_grid), 1.01 * static_cast<double>(kept)) << which;
      }
}

TEST(Levels, ThePlainDefinition) {
  // w / a within 1e-3 of a code is on the grid; beyond it is not.
  std::vector<float> values;
  std::mt19937 generator(1);
  for (int i = 0; i < 4096; ++i) {
    const float code = static_cast<float>(static_cast<int>(generator() % 3) - 1);
    const float error = i % 4 == 3 ? 0.004f : 0.0003f * static_cast<float>(static_cast<int>(generator() % 3) - 1);
    values.push_back(0.05f * (code + (code == 0 && i % 4 != 3 ? 0 : error)));
  }
  const TensorLevels levels = levels_of(stored_as(DType::float32, {32, 128}, values));
  ASSERT_TRUE(levels.finding);
  EXPECT_EQ(levels.finding->grid, Grid::ternary);
  EXPECT_EQ(levels.finding->on_grid, 3072);
}

TEST(Levels, ConstantsIntegersAndRuinsHaveNoGrid) {
  EXPECT_TRUE(levels_of(stored_as(DType::float32, {64}, std::vector<float>(64, 1.0f))).constant);
  EXPECT_FALSE(levels_of(stored_as(DType::float32, {64}, std::vector<float>(64, 1.0f))).finding);
  Tensor integers{"ids", DType::int32, {16, 4}, std::vector<std::byte>(256)};
  EXPECT_FALSE(levels_of(integers).finding);
  Tensor empty{"none", DType::float32, {0, 8}, {}};
  EXPECT_FALSE(levels_of(empty).finding);
  std::vector<float> ruined = on_grid(Grid::quinary, Granularity::group, 64, {16, 128}, 9);
  ruined[5] = std::nanf("");
  ruined[77] = INFINITY;
  const TensorLevels levels = levels_of(stored_as(DType::float32, {16, 128}, ruined));
  EXPECT_EQ(levels.not_finite, 2);
  ASSERT_TRUE(levels.finding);
  EXPECT_EQ(levels.finding->grid, Grid::quinary);
  EXPECT_EQ(levels.finding->on_grid, 2046);
}

TEST(Levels, SharesAddUpFromGridToGrid) {
  const Shape shape{32, 256};
  std::vector<TensorLevels> tensors{
      levels_of(stored_as(DType::float32, shape, on_grid(Grid::ternary, Granularity::tensor, 1, shape, 1))),
      levels_of(stored_as(DType::float32, shape, on_grid(Grid::quinary, Granularity::group, 64, shape, 2))),
      levels_of(stored_as(DType::float32, shape, gaussian(32 * 256, 3))),
      levels_of(stored_as(DType::float32, shape, gaussian(32 * 256, 4)))};
  const auto shares = grid_shares(tensors);
  ASSERT_EQ(shares.size(), 9u);
  EXPECT_EQ(shares[0].share, 0.0);   // binary
  EXPECT_EQ(shares[1].share, 0.25);  // ternary
  EXPECT_EQ(shares[2].share, 0.5);   // quinary, ternary included
  EXPECT_EQ(shares.back().share, 0.5);
}

}  // namespace
}  // namespace par5
