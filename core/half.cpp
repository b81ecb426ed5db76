#include "core/half.h"

#include <bit>

namespace par5 {
namespace {

// a < b for numbers below 2^31: SSE2 and AVX2 compare signed ones only.
constexpr bool below(std::uint32_t a, std::uint32_t b) {
  return static_cast<std::int32_t>(a) < static_cast<std::int32_t>(b);
}

// Rounds |value| (given as float32 bits without sign, finite) to a small float with kMantissa bits of mantissa and an
// exponent bias of kBias. The result has the small format's exponent and mantissa fields in one integer, subnormals
// included; it may exceed the format's range, which the caller checks. Without branches, so that loops become vectors.
template <int kMantissa, int kBias>
constexpr std::uint32_t round_magnitude(std::uint32_t magnitude) {
  constexpr int kShift = 23 - kMantissa;
  const std::uint32_t odd = (magnitude >> kShift) & 1u;
  const std::uint32_t normal = ((magnitude + (1u << (kShift - 1)) - 1 + odd) >> kShift) - ((127u - kBias) << kMantissa);
  // A float whose last place is the small format's smallest step: adding it rounds to whole steps.
  constexpr std::uint32_t kSteps = static_cast<std::uint32_t>(127 + 1 - kBias + kShift) << 23;
  const float sum = std::bit_cast<float>(magnitude) + std::bit_cast<float>(kSteps);
  const std::uint32_t subnormal = std::bit_cast<std::uint32_t>(sum) - kSteps;
  return below(magnitude, (127u + 1 - kBias) << 23) ? subnormal : normal;
}

constexpr std::uint32_t e4m3_bits(std::uint32_t bits) {
  const std::uint32_t magnitude = bits & 0x7fffffffu, rounded = round_magnitude<3, 7>(magnitude);
  const std::uint32_t saturated = below(rounded, 0x7eu) ? rounded : 0x7eu;
  return ((bits >> 24) & 0x80u) | (below(0x7f800000u, magnitude) ? 0x7fu : saturated);
}

constexpr std::uint32_t half_bits(std::uint32_t bits) {
  const std::uint32_t magnitude = bits & 0x7fffffffu, rounded = round_magnitude<10, 15>(magnitude);
  const std::uint32_t bounded = below(rounded, 0x7c00u) ? rounded : 0x7c00u;
  const std::uint32_t not_a_number = 0x7e00u | ((magnitude >> 13) & 0x1ffu);
  return ((bits >> 16) & 0x8000u) | (below(0x7f800000u, magnitude) ? not_a_number : bounded);
}

// The float32 value of a small float's magnitude (exponent and mantissa fields, finite).
float widen_magnitude(std::uint32_t bits, int mantissa_bits, int exponent_bias) {
  const std::uint32_t exponent = bits >> mantissa_bits;
  std::uint32_t mantissa = bits & ((1u << mantissa_bits) - 1);
  if (exponent == 0) {
    if (mantissa == 0) return 0.0f;
    const int shift = std::countl_zero(mantissa) - (31 - mantissa_bits);
    mantissa = (mantissa << shift) & ((1u << mantissa_bits) - 1);
    const auto wide_exponent = static_cast<std::uint32_t>(127 - exponent_bias + 1 - shift);
    return std::bit_cast<float>((wide_exponent << 23) | (mantissa << (23 - mantissa_bits)));
  }
  const auto wide_exponent = static_cast<std::uint32_t>(static_cast<int>(exponent) - exponent_bias + 127);
  return std::bit_cast<float>((wide_exponent << 23) | (mantissa << (23 - mantissa_bits)));
}

}  // namespace

std::uint16_t half_from_float(float value) {
  return static_cast<std::uint16_t>(half_bits(std::bit_cast<std::uint32_t>(value)));
}
void half_from_floats(std::span<const float> values, std::span<std::uint16_t> out) {
  for (std::size_t i = 0; i < values.size(); ++i) out[i] = half_from_float(values[i]);
}

float float_from_half(std::uint16_t bits) {
  const std::uint32_t sign = static_cast<std::uint32_t>(bits & 0x8000u) << 16;
  const std::uint32_t magnitude = bits & 0x7fffu;
  if (magnitude >= 0x7c00u)
    return std::bit_cast<float>(sign | 0x7f800000u | ((magnitude & 0x3ffu) << 13) |
                                (magnitude > 0x7c00u ? 0x400000u : 0u));
  return std::bit_cast<float>(sign | std::bit_cast<std::uint32_t>(widen_magnitude(magnitude, 10, 15)));
}

std::uint16_t bfloat16_from_float(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<std::uint16_t>((bits >> 16) | 0x40u);
  return static_cast<std::uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

float float_from_bfloat16(std::uint16_t bits) { return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16); }

std::uint8_t e4m3_from_float(float value) {
  return static_cast<std::uint8_t>(e4m3_bits(std::bit_cast<std::uint32_t>(value)));
}
void e4m3_from_floats(std::span<const float> values, std::span<std::uint8_t> out) {
  for (std::size_t i = 0; i < values.size(); ++i) out[i] = e4m3_from_float(values[i]);
}

float float_from_e4m3(std::uint8_t bits) {
  const std::uint32_t sign = static_cast<std::uint32_t>(bits & 0x80u) << 24;
  const std::uint32_t magnitude = bits & 0x7fu;
  if (magnitude == 0x7fu) return std::bit_cast<float>(sign | 0x7fc00000u);
  return std::bit_cast<float>(sign | std::bit_cast<std::uint32_t>(widen_magnitude(magnitude, 3, 7)));
}

}  // namespace par5
