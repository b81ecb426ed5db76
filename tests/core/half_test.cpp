#include "core/half.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

namespace par5 {
namespace {

// References in double arithmetic: the value of a code from its fields, and the nearest code by search.
double small_value(unsigned magnitude, int mantissa_bits, int bias) {
  const int exponent = static_cast<int>(magnitude >> mantissa_bits);
  const double mantissa = magnitude & ((1u << mantissa_bits) - 1);
  const double scale = std::ldexp(1.0, -mantissa_bits);
  return exponent == 0 ? std::ldexp(mantissa * scale, 1 - bias) : std::ldexp(1.0 + mantissa * scale, exponent - bias);
}

// Nearest of the codes 0 … largest to |value|, ties to the even code; `overflow` is what lies beyond the last midpoint.
unsigned nearest_code(double value, unsigned largest, unsigned overflow, int mantissa_bits, int bias) {
  unsigned low = 0, high = largest;
  while (low < high) {
    const unsigned middle = (low + high + 1) / 2;
    if (small_value(middle, mantissa_bits, bias) <= value)
      low = middle;
    else
      high = middle - 1;
  }
  const double below = small_value(low, mantissa_bits, bias);
  const double above = small_value(low + 1, mantissa_bits, bias);
  const double to_below = value - below, to_above = above - value;
  const bool up = to_above < to_below || (to_above == to_below && (low & 1));
  if (!up) return low;
  return low == largest ? overflow : low + 1;
}

TEST(Half, EveryCodeHasItsValue) {
  for (unsigned code = 0; code < 65536; ++code) {
    const float value = float_from_half(static_cast<std::uint16_t>(code));
    const unsigned magnitude = code & 0x7fff;
    if (magnitude > 0x7c00) {
      EXPECT_TRUE(std::isnan(value)) << code;
      continue;
    }
    const double expected =
        magnitude == 0x7c00 ? std::numeric_limits<double>::infinity() : small_value(magnitude, 10, 15);
    ASSERT_EQ(value, code & 0x8000 ? -expected : expected) << code;
    ASSERT_EQ(std::signbit(value), (code & 0x8000) != 0) << code;
    ASSERT_EQ(half_from_float(value), code);
  }
}

TEST(Half, RoundsAroundEveryCodeLikeTheReference) {
  for (unsigned code = 0; code < 0x7c00; ++code) {
    const double below = small_value(code, 10, 15), above = small_value(code + 1, 10, 15);
    const auto middle = static_cast<float>((below + above) / 2);
    for (const float value : {static_cast<float>(below), std::nextafter(middle, 0.0f), middle,
                              std::nextafter(middle, std::numeric_limits<float>::infinity())}) {
      const unsigned expected = nearest_code(value, 0x7bff, 0x7c00, 10, 15);
      ASSERT_EQ(half_from_float(value), expected) << value;
      ASSERT_EQ(half_from_float(-value), expected | 0x8000) << value;
    }
  }
}

TEST(Half, SpecialValues) {
  EXPECT_EQ(half_from_float(65519.996f), 0x7bff);
  EXPECT_EQ(half_from_float(65520.0f), 0x7c00);
  EXPECT_EQ(half_from_float(std::numeric_limits<float>::infinity()), 0x7c00);
  EXPECT_TRUE(std::isnan(float_from_half(half_from_float(std::numeric_limits<float>::quiet_NaN()))));
  EXPECT_EQ(half_from_float(std::ldexp(1.0f, -25)), 0);  // a tie, to even
  EXPECT_EQ(half_from_float(std::ldexp(1.5f, -25)), 1);
  EXPECT_EQ(half_from_float(std::numeric_limits<float>::denorm_min()), 0);
}

TEST(Bfloat16, EveryCodeAndTies) {
  for (unsigned code = 0; code < 65536; ++code) {
    const float value = float_from_bfloat16(static_cast<std::uint16_t>(code));
    if (std::isnan(value)) {
      EXPECT_TRUE(std::isnan(float_from_bfloat16(bfloat16_from_float(value))));
      continue;
    }
    ASSERT_EQ(bfloat16_from_float(value), code);
    if (std::isinf(value)) continue;
    const auto at = [&](std::uint32_t low) { return std::bit_cast<float>((code << 16) | low); };
    ASSERT_EQ(bfloat16_from_float(at(0x7fff)), code);
    ASSERT_EQ(bfloat16_from_float(at(0x8000)), code + (code & 1));
    ASSERT_EQ(bfloat16_from_float(at(0x8001)), code + 1);
  }
}

TEST(E4m3, EveryCodeHasItsValue) {
  for (unsigned code = 0; code < 256; ++code) {
    const float value = float_from_e4m3(static_cast<std::uint8_t>(code));
    if ((code & 0x7f) == 0x7f) {
      EXPECT_TRUE(std::isnan(value));
      continue;
    }
    const double expected = small_value(code & 0x7f, 3, 7);
    ASSERT_EQ(value, code & 0x80 ? -expected : expected) << code;
    ASSERT_EQ(e4m3_from_float(value), code);
  }
  EXPECT_EQ(float_from_e4m3(0x7e), 448.0f);
  EXPECT_EQ(float_from_e4m3(0x01), std::ldexp(1.0f, -9));
}

TEST(E4m3, RoundsEveryHalfLikeTheReference) {
  for (unsigned code = 0; code < 0x7c00; ++code) {
    const float value = float_from_half(static_cast<std::uint16_t>(code));
    const unsigned expected = value >= 448.0f ? 0x7e : nearest_code(value, 0x7d, 0x7e, 3, 7);
    ASSERT_EQ(e4m3_from_float(value), expected) << value;
    ASSERT_EQ(e4m3_from_float(-value), expected | 0x80) << value;
  }
}

TEST(E4m3, SaturatesAndKeepsNan) {
  EXPECT_EQ(e4m3_from_float(1e30f), 0x7e);
  EXPECT_EQ(e4m3_from_float(-std::numeric_limits<float>::infinity()), 0xfe);
  EXPECT_TRUE(std::isnan(float_from_e4m3(e4m3_from_float(std::numeric_limits<float>::quiet_NaN()))));
}

}  // namespace
}  // namespace par5
