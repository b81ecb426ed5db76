// The quantiser's loops as docs/format.md writes them; the vector code must give the same bits.
#include <algorithm>
#include <bit>

#include "core/half.h"
#include "pack/quantizer_kernels.h"

namespace par5 {
namespace {

float absolute_sum(const float* weights, std::size_t count) {
  float lanes[16] = {};
  for (std::size_t i = 0; i < count; ++i)
    lanes[i % 16] += std::bit_cast<float>(std::bit_cast<std::uint32_t>(weights[i]) & 0x7fffffffu);
  for (std::size_t half = 8; half > 0; half /= 2)
    for (std::size_t i = 0; i < half; ++i) lanes[i] += lanes[i + half];
  return lanes[0];
}

std::uint32_t absolute_max_bits(const float* weights, std::size_t count) {
  std::uint32_t largest = 0;
  for (std::size_t i = 0; i < count; ++i)
    largest = std::max(largest, std::bit_cast<std::uint32_t>(weights[i]) & 0x7fffffffu);
  return largest;
}

// Clamping before rounding gives the same code, because the limit is an integer, and keeps the sum below in range:
// adding and taking away 1.5 · 2^23 rounds to the nearest integer, ties to even, in the default rounding mode.
float code_of(float weight, float scale, int limit) {
  if (limit == 0) return weight >= 0.0f ? 1.0f : -1.0f;
  const auto bound = static_cast<float>(limit);
  constexpr float kShifter = 12582912.0f;
  const float clamped = std::min(std::max(weight / scale, -bound), bound);
  return (clamped + kShifter) - kShifter;
}

void encode(const float* weights, std::size_t count, float scale, int limit, std::int8_t* codes) {
  for (std::size_t i = 0; i < count; ++i) codes[i] = static_cast<std::int8_t>(code_of(weights[i], scale, limit));
}

void round_to_grid(const float* weights, std::size_t count, float scale, int limit, float* out) {
  for (std::size_t i = 0; i < count; ++i) out[i] = code_of(weights[i], scale, limit) * scale;
}

std::uint32_t round_to_e4m3_values(const float* values, std::size_t count, float* out) {
  const std::uint32_t largest = absolute_max_bits(values, count);
  for (std::size_t i = 0; i < count; ++i) out[i] = round_to_e4m3(values[i]);
  return largest;
}

}  // namespace

QuantizerKernels scalar_quantizer_kernels() {
  return {absolute_sum, absolute_max_bits, encode, round_to_grid, round_to_e4m3_values};
}

}  // namespace par5
