#include "engine/frequencies.h"

#include <algorithm>
#include <bit>

#include "engine/elementary.h"

namespace par5 {
namespace {

constexpr std::uint64_t kTwo52Bits = 0x4330000000000000u;  // of 2^52

// ln x for x >= 1 by additions, multiplications and one division, without branches: x = m · 2^e, m in
// [sqrt(1/2), sqrt 2), ln m = 2 · artanh((m − 1) / (m + 1)).
inline double log_of(double x) {
  constexpr std::uint64_t kFraction = 0x000fffffffffffffu, kHalfRoot = 0x3fe6a09e667f3bcdu;
  const std::uint64_t shifted = std::bit_cast<std::uint64_t>(x) - kHalfRoot;
  // The exponent as a double, by the bits of 2^52 + exponent; x >= 1, so it is not negative.
  const double e = std::bit_cast<double>(kTwo52Bits | (shifted >> 52)) - 0x1p52;
  const double m = std::bit_cast<double>((shifted & kFraction) + kHalfRoot);
  const double s = (m - 1.0) / (m + 1.0);
  const double t = s * s;
  double p = 1.0 / 15.0;
  p = p * t + 1.0 / 13.0;
  p = p * t + 1.0 / 11.0;
  p = p * t + 1.0 / 9.0;
  p = p * t + 1.0 / 7.0;
  p = p * t + 1.0 / 5.0;
  p = p * t + 1.0 / 3.0;
  p = p * t + 1.0;
  return e * 0x1.62e42fefa39efp-1 + 2.0 * s * p;
}

// A 64-bit integer as a double, by operations that every instruction set has.
inline double to_double(std::uint64_t value) {
  const double low = std::bit_cast<double>(kTwo52Bits | (value & 0xffffffffu)) - 0x1p52;
  const double high = std::bit_cast<double>(kTwo52Bits | (value >> 32)) - 0x1p52;
  return high * 0x1p32 + low;
}

}  // namespace

std::uint64_t token_frequencies(std::span<const float> logits, int bits, std::span<std::uint64_t> out) {
  float largest = -HUGE_VALF;
  for (const float z : logits)
    if (z > largest) largest = z;
  const auto factor = static_cast<double>(std::uint64_t{1} << bits);
  std::uint64_t total = 0;
  for (std::size_t i = 0; i < logits.size(); ++i) {
    // A binary32 value times a power of two is exact in binary64.
    out[i] = 1 + static_cast<std::uint64_t>(static_cast<double>(exact::exp(logits[i] - largest)) * factor);
    total += out[i];
  }
  return total;
}

double claimed_bits(std::uint64_t frequency, std::uint64_t total) {
  return (exact::log64(static_cast<double>(total)) - exact::log64(static_cast<double>(frequency))) *
         0x1.71547652b82fep+0;
}

void log_shares(std::span<const std::uint64_t> frequencies, std::uint64_t total, std::span<float> out) {
  const double log_total = log_of(to_double(total));
  for (std::size_t i = 0; i < frequencies.size(); ++i)
    out[i] = static_cast<float>(log_of(to_double(frequencies[i])) - log_total);
}

}  // namespace par5
