#include "engine/frequencies.h"

#include <algorithm>

#include "engine/elementary.h"

namespace par5 {

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

}  // namespace par5
