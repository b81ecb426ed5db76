// The elementary functions of the exact arithmetic (docs/arithmetic.md, "Elementary functions"), for one value. Every
// operation is an IEEE operation or an std::fma that is written here; nothing comes from libm. The vector kernels
// repeat these operations lane by lane, and a test holds them to the same bits.
//
// The coefficients are fits of least largest error at 400 Chebyshev points, rounded to binary32; the errors beside them
// include that rounding and are measured by tests/engine/elementary_test.cpp.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

namespace par5::exact {

// Adding and subtracting 1.5 · 2^23 rounds to the nearest integer, ties to even, for |x| < 2^22.
constexpr float kRounder = 12582912.0f;

// e^x. Below -87: 0. Above 88.7: infinity. Relative error at most 1.1 · 2^-23 between.
constexpr float kExpLowest = -87.0f, kExpHighest = 88.7f;
constexpr float kLog2E = 0x1.715476p+0f;
constexpr float kLn2High = 0x1.62e4p-1f;    // 15 bits: times an exponent it is exact
constexpr float kLn2Low = 0x1.7f7d1cp-20f;  // ln 2 - kLn2High
constexpr float kExp[5] = {0x1p-1f, 0x1.55548ep-3f, 0x1.55545ep-5f, 0x1.123b72p-7f, 0x1.6db40cp-10f};

inline float exp(float x) {
  if (!(x >= kExpLowest)) return x != x ? x : 0.0f;
  if (x > kExpHighest) return HUGE_VALF;
  const float shifted = std::fma(x, kLog2E, kRounder);
  const float n = shifted - kRounder;
  float r = std::fma(n, -kLn2High, x);
  r = std::fma(n, -kLn2Low, r);
  float p = std::fma(r, kExp[4], kExp[3]);
  p = std::fma(r, p, kExp[2]);
  p = std::fma(r, p, kExp[1]);
  p = std::fma(r, p, kExp[0]);
  p = std::fma(r * r, p, r);
  p = p + 1.0f;
  return std::bit_cast<float>(std::bit_cast<std::uint32_t>(p) + (std::bit_cast<std::uint32_t>(shifted) << 23));
}

// Hyperbolic tangent; error at most 1.6e-7, relative below 0.625.
constexpr float kTanhSmall = 0.625f;
constexpr float kTanh[5] = {-0x1.555534p-2f, 0x1.110766p-3f, -0x1.b8440cp-5f, 0x1.525530p-6f, -0x1.76a45cp-8f};

inline float tanh(float x) {
  const float t = std::fabs(x);
  const float s = x * x;
  float p = std::fma(s, kTanh[4], kTanh[3]);
  p = std::fma(s, p, kTanh[2]);
  p = std::fma(s, p, kTanh[1]);
  p = std::fma(s, p, kTanh[0]);
  const float small = std::fma(x * s, p, x);
  const float large = std::copysign(1.0f - 2.0f / (exp(t + t) + 1.0f), x);
  return t < kTanhSmall ? small : large;
}

// Error function; error at most 1.2e-7.
constexpr float kErfLargest = 4.0f;
constexpr float kErf[7] = {0x1.06eba8p-3f, -0x1.81273ep-2f,  0x1.ce2d20p-4f, -0x1.b7fbb4p-6f,
                           0x1.5419f4p-8f, -0x1.a485e8p-11f, 0x1.4ae4c6p-14f};
constexpr float kErfc[7] = {0x1.5cd7bep-12f, 0x1.0458d0p-3f, 0x1.46b432p-1f,  0x1.a67e88p-4f,
                            -0x1.66181cp-6f, 0x1.82e8c0p-9f, -0x1.87b378p-13f};

inline float erf(float x) {
  const float t = std::fabs(x);
  const float s = x * x;
  float p = std::fma(s, kErf[6], kErf[5]);
  for (int i = 4; i >= 0; --i) p = std::fma(s, p, kErf[i]);
  const float small = std::fma(x, p, x);
  const float u = t < kErfLargest ? t : kErfLargest;
  float g = std::fma(u, kErfc[6], kErfc[5]);
  for (int i = 4; i >= 0; --i) g = std::fma(u, g, kErfc[i]);
  const float large = std::copysign(1.0f - exp(-(u + g)), x);
  return t < 1.0f ? small : large;
}

// x · sigmoid(x) = x / (1 + e^-x).
inline float silu(float x) { return x / (1.0f + exp(-x)); }

// 0.5 · x · (1 + erf(x / sqrt 2)).
constexpr float kSqrtHalf = 0x1.6a09e6p-1f;
constexpr float kInverseSqrtTwoPi = 0x1.988454p-2f;  // of gelu's slope
inline float gelu(float x) { return (0.5f * x) * (1.0f + erf(x * kSqrtHalf)); }

// In binary64, for tables that are made once (RoPE) and for logarithms of sums. Relative error below 1e-14 where the
// result is not near 0; sine and cosine: absolute error below 1e-15 up to 2^22.
double exp64(double x);
double log64(double x);  // x > 0 and finite
// base^exponent for base > 0
double pow64(double base, double exponent);
double sin64(double x);
double cos64(double x);

}  // namespace par5::exact
