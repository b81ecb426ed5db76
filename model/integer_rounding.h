// What the kernels of products in integers (integer_kernels.cpp, int16_kernels.cpp) share: the scale of rounded values,
// in a portable and an AVX-512 form with the same bits.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include "core/intrinsics.h"

namespace par5::kernels {

// Rows of smaller values are zero: the reciprocal of their scale would not be finite.
inline constexpr float kSmallest = 1e-30f;

struct Scale {
  float step = 0, reciprocal = 0;
};
// `largest` is NaN or infinite where a value is.
inline Scale scale_of(float largest, int steps) {
  if (largest < kSmallest) return {};
  const auto count = static_cast<float>(steps);
  return {largest / count, std::isfinite(largest) ? count / largest : 0};
}

inline std::uint32_t magnitude(float value) { return std::bit_cast<std::uint32_t>(value) & 0x7fffffffu; }

// x · factor, or x.
inline float scaled(const float* x, const float* factors, std::size_t i) { return factors ? x[i] * factors[i] : x[i]; }

inline float largest_magnitude_portable(const float* x, const float* factors, std::size_t n) {
  std::uint32_t largest = 0;  // as bits, magnitudes are ordered, with NaN above all
  for (std::size_t i = 0; i < n; ++i) largest = std::max(largest, magnitude(scaled(x, factors, i)));
  return std::bit_cast<float>(largest);
}

#if defined(__x86_64__)
inline constexpr std::size_t kLanes = 16;

PAR5_VNNI_INLINE __mmask16 first_lanes(std::size_t n) {
  return n >= kLanes ? __mmask16(0xffff) : static_cast<__mmask16>((1u << n) - 1);
}
PAR5_VNNI_INLINE __m512 load_scaled(const float* x, const float* factors, std::size_t i, __mmask16 mask) {
  const __m512 values = _mm512_maskz_loadu_ps(mask, x + i);
  return factors ? _mm512_mul_ps(values, _mm512_maskz_loadu_ps(mask, factors + i)) : values;
}

PAR5_VNNI inline float largest_magnitude_vnni(const float* x, const float* factors, std::size_t n) {
  const __m512i all_but_sign = _mm512_set1_epi32(0x7fffffff);
  __m512i largest = _mm512_setzero_si512();
  std::size_t i = 0;
  const auto take = [&](__mmask16 mask) __attribute__((target(PAR5_TARGET_VNNI))) {
    const __m512i bits = _mm512_castps_si512(load_scaled(x, factors, i, mask));
    largest = _mm512_max_epu32(largest, _mm512_and_si512(bits, all_but_sign));
  };
  for (; i + kLanes <= n; i += kLanes) take(__mmask16(0xffff));
  if (i < n) take(first_lanes(n - i));
  return std::bit_cast<float>(_mm512_reduce_max_epu32(largest));
}
#endif

}  // namespace par5::kernels
