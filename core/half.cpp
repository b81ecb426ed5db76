#include "core/half.h"

#include <bit>

namespace par5 {
namespace {

// Shifts `value` right by `shift` bits, rounding to nearest even. `shift` is at least 1; 32 or more gives 0.
std::uint32_t shift_right_round_even(std::uint32_t value, int shift) {
  if (shift > 31) return 0;
  const std::uint32_t kept = value >> shift;
  const std::uint32_t rest = value & ((1u << shift) - 1);
  const std::uint32_t half = 1u << (shift - 1);
  return kept + ((rest > half || (rest == half && (kept & 1))) ? 1 : 0);
}

// Rounds |value| (given as float32 bits without sign) to a small float with `mantissa_bits` and `exponent_bias`.
// The result has the small format's exponent and mantissa fields in one integer, subnormals included; it may
// exceed the format's range, which the caller checks.
std::uint32_t round_magnitude(std::uint32_t magnitude, int mantissa_bits, int exponent_bias) {
  const int exponent = static_cast<int>(magnitude >> 23) - 127;
  const std::uint32_t mantissa = (magnitude & 0x7fffffu) | (magnitude >> 23 ? 0x800000u : 0u);
  const int smallest_normal = 1 - exponent_bias;
  if (exponent >= smallest_normal) {
    const std::uint32_t rounded = shift_right_round_even(mantissa, 23 - mantissa_bits);
    return (static_cast<std::uint32_t>(exponent + exponent_bias - 1) << mantissa_bits) + rounded;
  }
  return shift_right_round_even(mantissa, 23 - mantissa_bits + (smallest_normal - exponent));
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
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const auto sign = static_cast<std::uint16_t>((bits >> 16) & 0x8000u);
  const std::uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return static_cast<std::uint16_t>(sign | 0x7e00u | ((magnitude >> 13) & 0x1ffu));
  if (magnitude == 0x7f800000u) return static_cast<std::uint16_t>(sign | 0x7c00u);
  const std::uint32_t rounded = round_magnitude(magnitude, 10, 15);
  return static_cast<std::uint16_t>(sign | (rounded > 0x7c00u ? 0x7c00u : rounded));
}

float float_from_half(std::uint16_t bits) {
  const std::uint32_t sign = static_cast<std::uint32_t>(bits & 0x8000u) << 16;
  const std::uint32_t magnitude = bits & 0x7fffu;
  if (magnitude >= 0x7c00u)
    return std::bit_cast<float>(sign | 0x7f800000u | ((magnitude & 0x3ffu) << 13) | (magnitude > 0x7c00u ? 0x400000u : 0u));
  return std::bit_cast<float>(sign | std::bit_cast<std::uint32_t>(widen_magnitude(magnitude, 10, 15)));
}

std::uint16_t bfloat16_from_float(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<std::uint16_t>((bits >> 16) | 0x40u);
  return static_cast<std::uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

float float_from_bfloat16(std::uint16_t bits) { return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16); }

std::uint8_t e4m3_from_float(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const auto sign = static_cast<std::uint8_t>((bits >> 24) & 0x80u);
  const std::uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return static_cast<std::uint8_t>(sign | 0x7fu);
  if (magnitude == 0x7f800000u) return static_cast<std::uint8_t>(sign | 0x7eu);
  const std::uint32_t rounded = round_magnitude(magnitude, 3, 7);
  return static_cast<std::uint8_t>(sign | (rounded > 0x7eu ? 0x7eu : rounded));
}

float float_from_e4m3(std::uint8_t bits) {
  const std::uint32_t sign = static_cast<std::uint32_t>(bits & 0x80u) << 24;
  const std::uint32_t magnitude = bits & 0x7fu;
  if (magnitude == 0x7fu) return std::bit_cast<float>(sign | 0x7fc00000u);
  return std::bit_cast<float>(sign | std::bit_cast<std::uint32_t>(widen_magnitude(magnitude, 3, 7)));
}

}  // namespace par5
