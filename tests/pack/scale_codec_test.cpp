#include "pack/scale_codec.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "core/half.h"
#include "pack/quantizer.h"
#include "pack/stored_model.h"

namespace par5 {
namespace {

// A tensor of one-weight groups with these scales; code 1 everywhere.
QuantizedTensor tensor_with(std::vector<std::uint16_t> scales) {
  QuantizedTensor tensor;
  tensor.shape = {static_cast<std::int64_t>(scales.size()), 1};
  tensor.codes.assign(scales.size(), 1);
  tensor.scales = std::move(scales);
  return tensor;
}

std::vector<std::uint16_t> log_normal_scales(std::size_t count, double spread, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<std::uint16_t> scales(count);
  for (std::uint16_t& scale : scales) {
    double sum = -6.0;
    for (int i = 0; i < 12; ++i) sum += static_cast<double>(random()) * 0x1p-32;  // nearly normal, deviation 1
    scale = half_from_float(static_cast<float>(0.02 * std::exp2(spread * sum)));
  }
  return scales;
}

TEST(ScaleCodec, ReconstructionMatchesPinnedValues) {
  struct Row {
    float anchor, step;
    int delta;
    std::uint16_t expected;
  };
  const Row rows[] = {
      {0.0f, 0.0f, 0, 0x3c00},           {-24.0f, 0.0f, 0, 0x0001},     {-25.0f, 0.0f, 0, 0x0001},
      {-60000.0f, 1.0f, -128, 0x0001},   {15.0f, 0.0f, 0, 0x7800},      {16.0f, 0.0f, 0, 0x7bff},
      {60000.0f, 60000.0f, 127, 0x7bff}, {-14.0f, 0.0f, 0, 0x0400},     {-15.0f, 0.0f, 0, 0x0200},
      {0.5f, 0.0f, 0, 0x3da8},           {-5.625f, 0.0625f, 3, 0x25e8}, {-5.625f, 0.0625f, -16, 0x2130},
  };
  for (const Row& row : rows)
    EXPECT_EQ(reconstruct_scale(half_from_float(row.anchor), half_from_float(row.step), row.delta), row.expected)
        << row.anchor << " " << row.step << " " << row.delta;
}

TEST(ScaleCodec, ReconstructionIsExp2RoundedToFp16) {
  std::mt19937 random(4);
  int off = 0;
  for (int i = 0; i < 200000; ++i) {
    const std::uint16_t anchor = half_from_float(static_cast<float>(static_cast<double>(random()) * 0x1p-32 * 38 - 23));
    const std::uint16_t step = half_from_float(static_cast<float>(static_cast<double>(random()) * 0x1p-32 * 0.2));
    const int delta = static_cast<int>(random() % 32) - 16;
    const double exact = std::exp2(float_from_half(anchor) + static_cast<double>(delta) * float_from_half(step));
    const auto expected = std::clamp<int>(half_from_float(static_cast<float>(exact)), 1, 0x7bff);
    const int found = reconstruct_scale(anchor, step, delta);
    ASSERT_LE(std::abs(found - expected), 1);
    off += found != expected;
  }
  EXPECT_LE(off, 20);  // only where the exact value lies within 2^-26 of a rounding boundary
}

TEST(ScaleCodec, ReconstructionRisesWithTheDeltaDownToTheSmallestStep) {
  for (const std::uint16_t step : {std::uint16_t{1}, std::uint16_t{2}, std::uint16_t{0x0400}, half_from_float(0.01f)})
    for (int a = -23 * 16; a < 15 * 16; ++a) {
      const std::uint16_t anchor = half_from_float(static_cast<float>(a) / 16);
      for (int delta = -128; delta < 127; ++delta)
        ASSERT_LE(reconstruct_scale(anchor, step, delta), reconstruct_scale(anchor, step, delta + 1))
            << a << " " << delta;
    }
}

TEST(ScaleCodec, ErrorStaysWithinTheStepAndFallsWithBits) {
  const QuantizedTensor tensor = tensor_with(log_normal_scales(5000, 0.25, 9));
  double last = 1;
  for (const int bits : {4, 5, 6, 8}) {
    const ScaleDeltas deltas = fit_scale_deltas(tensor, bits);
    ASSERT_TRUE(check_scale_deltas(deltas));
    EXPECT_EQ(deltas.bits, bits);
    const ScaleError error = scale_error(tensor, deltas);
    const double step = float_from_half(deltas.step);
    EXPECT_EQ(error.scales, 5000);
    // A uniform quantiser's deviation is step / sqrt(12); clipped outliers and fp16 add a little.
    EXPECT_LT(error.rms_log2, step / std::sqrt(12.0) * 1.1 + 0.0005) << bits;
    EXPECT_LT(error.rms_log2, last * 0.6) << bits;
    EXPECT_GE(error.max_log2, error.rms_log2);
    last = error.rms_log2;
    std::printf("%d bits: rms %.3f %%, largest %.3f %%\n", bits, error.rms_percent(), error.max_percent());
  }
}

TEST(ScaleCodec, UniformLogScalesReachTheIdealError) {
  std::vector<std::uint16_t> scales;
  for (int i = 0; i < 2000; ++i) scales.push_back(half_from_float(static_cast<float>(0.01 * std::exp2(i / 2000.0))));
  const QuantizedTensor tensor = tensor_with(scales);
  const ScaleError error = scale_error(tensor, fit_scale_deltas(tensor, 5));
  EXPECT_LT(error.rms_log2, 1.0 / 32 / std::sqrt(12.0) * 1.03);
  EXPECT_LT(error.max_log2, 1.0 / 32 / 2 * 1.1);
}

TEST(ScaleCodec, EqualScalesGiveStepZero) {
  for (const float scale : {0.5f, 0.0203f, 3e-6f}) {
    const QuantizedTensor tensor = tensor_with(std::vector<std::uint16_t>(7, half_from_float(scale)));
    const ScaleDeltas deltas = fit_scale_deltas(tensor, 5);
    EXPECT_EQ(deltas.step, 0);
    EXPECT_EQ(deltas.deltas, std::vector<std::int8_t>(7, 0));
    EXPECT_LT(scale_error(tensor, deltas).max_log2, 0.017);  // half an fp16 unit of the anchor, and one of the scale
  }
  const QuantizedTensor exact = tensor_with(std::vector<std::uint16_t>(3, half_from_float(0.125f)));
  EXPECT_EQ(reconstruct_scales(fit_scale_deltas(exact, 4)), exact.scales);
}

TEST(ScaleCodec, SilentGroupsTakeNoPart) {
  std::vector<std::uint16_t> scales = log_normal_scales(100, 0.2, 2);
  const ScaleDeltas without = fit_scale_deltas(tensor_with(scales), 5);
  scales.insert(scales.begin() + 50, 1);  // 2^-24
  QuantizedTensor tensor = tensor_with(scales);
  tensor.codes[50] = 0;
  const ScaleDeltas with = fit_scale_deltas(tensor, 5);
  EXPECT_EQ(with.anchor, without.anchor);
  EXPECT_EQ(with.step, without.step);
  EXPECT_EQ(with.deltas[50], 0);
  EXPECT_EQ(scale_error(tensor, with).scales, 100);
  // The smallest scale with a code other than 0 is an ordinary one.
  tensor.codes[50] = 1;
  EXPECT_EQ(scale_error(tensor, fit_scale_deltas(tensor, 5)).scales, 101);

  QuantizedTensor silent = tensor_with(std::vector<std::uint16_t>(4, 1));
  silent.codes.assign(4, 0);
  const ScaleDeltas deltas = fit_scale_deltas(silent, 5);
  EXPECT_EQ(deltas.step, 0);
  EXPECT_EQ(reconstruct_scales(deltas), silent.scales);
  EXPECT_EQ(scale_error(silent, deltas).scales, 0);
}

TEST(ScaleCodec, RefusesForeignDeltas) {
  const ScaleDeltas good{5, half_from_float(-5.0f), half_from_float(0.1f), {-16, 0, 15}};
  EXPECT_TRUE(check_scale_deltas(good));
  for (const int bits : {0, 3, 7, 16}) {
    ScaleDeltas bad = good;
    bad.bits = bits;
    EXPECT_FALSE(check_scale_deltas(bad));
  }
  for (const std::uint16_t half : std::initializer_list<std::uint16_t>{0x7c00, 0x7e00, 0xfc00, 0xffff}) {
    ScaleDeltas bad = good;
    bad.anchor = half;
    EXPECT_FALSE(check_scale_deltas(bad));
    bad = good;
    bad.step = half;
    EXPECT_FALSE(check_scale_deltas(bad));
  }
  ScaleDeltas bad = good;
  bad.step = 0x8000;
  EXPECT_FALSE(check_scale_deltas(bad));
  bad = good;
  bad.deltas[1] = 16;
  ASSERT_FALSE(check_scale_deltas(bad));
  EXPECT_EQ(check_scale_deltas(bad).error().offset, 1u);
  bad.deltas[1] = -17;
  EXPECT_FALSE(check_scale_deltas(bad));
}

TEST(ScaleCodec, ApplyKeepsCodesAndCarriesTheDeltas) {
  QuantizedTensor tensor = tensor_with(log_normal_scales(300, 0.3, 7));
  const auto codes = tensor.codes;
  const auto before = tensor;
  const ScaleError error = apply_scale_bits(tensor, 6);
  EXPECT_EQ(tensor.codes, codes);
  ASSERT_TRUE(tensor.deltas);
  EXPECT_EQ(tensor.quantizer.scale_bits, 6);
  EXPECT_EQ(tensor.scales, reconstruct_scales(*tensor.deltas));
  EXPECT_EQ(error.max_log2, scale_error(before, *tensor.deltas).max_log2);
}

}  // namespace
}  // namespace par5
