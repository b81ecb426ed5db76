// The coder's fixed tables. All are made with +, -, x and / of IEEE binary64 alone, then rounded to binary32, so that
// every machine has the same; docs/coder.md gives the series.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>

namespace par5::coder {

struct Tables {
  static constexpr int kStretchSize = 4096;
  static constexpr int kSquashLimit = 12;  // squash covers -12 … 12
  static constexpr int kSquashSteps = 64;  // entries per unit
  static constexpr int kTailLimit = 8;     // the Gaussian tail covers -8 … 8
  static constexpr int kTailSteps = 64;    // entries per unit
  static constexpr int kRateSize = 1024;
  static constexpr int kOddsLowest = -12;  // odds covers 2^-12 … 2^6
  static constexpr int kOddsOctaves = 18;
  static constexpr int kOddsSteps = 32;  // entries per octave

  std::array<float, kStretchSize> stretch;                        // ln(p / (1 - p)) at p = (i + 1/2) / 4096
  std::array<float, 2 * kSquashLimit * kSquashSteps + 2> squash;  // 1 / (1 + exp(-x)) at x = i / 64 - 12
  std::array<float, 2 * kTailLimit * kTailSteps + 2> tail;        // P(standard normal > t) at t = i / 64 - 8
  std::array<float, 2 * kTailLimit * kTailSteps + 2> log_tail;    // its natural logarithm
  std::array<float, kOddsOctaves * kOddsSteps + 1> odds;          // -ln(exp(d) - 1) at d = 2^(i / 32 - 12), see below
  std::array<float, kRateSize> rate;        // 1 / (min(n + 1, 1023) + 0.7): step of a counter that has seen n bits
  std::array<float, kRateSize> confidence;  // n / (n + 3)

  static const Tables& get();
};

// `lowest` also for a value that is not a number.
inline float clamp(float value, float lowest, float highest) {
  if (!(value > lowest)) return lowest;
  return value < highest ? value : highest;
}

// Base-2 logarithm with the mantissa taken linearly: exact at powers of two, monotone. `value` is positive and normal.
inline float linear_log2(float value) {
  return static_cast<float>(std::bit_cast<std::int32_t>(value) - (127 << 23)) * (1.0f / (1 << 23));
}

inline float interpolate(const float* table, float position) {
  const int index = static_cast<int>(position);
  const float fraction = position - static_cast<float>(index);
  return table[index] + fraction * (table[index + 1] - table[index]);
}

inline float stretch(const Tables& tables, float probability) {
  const int index = static_cast<int>(probability * static_cast<float>(Tables::kStretchSize));
  return tables.stretch[static_cast<std::size_t>(std::clamp(index, 0, Tables::kStretchSize - 1))];
}

inline float squash(const Tables& tables, float value) {
  const float limit = static_cast<float>(Tables::kSquashLimit);
  return interpolate(tables.squash.data(), (clamp(value, -limit, limit) + limit) * Tables::kSquashSteps);
}

inline float tail_position(float t) {
  const float limit = static_cast<float>(Tables::kTailLimit);
  return (clamp(t, -limit, limit) + limit) * Tables::kTailSteps;
}

// -ln(exp(d) - 1), the stretched probability exp(-d); between entries linear in the mantissa's bits.
inline float odds(const Tables& tables, float d) {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(clamp(d, 1.0f / 4096, 63.0f));
  const std::uint32_t from = static_cast<std::uint32_t>(127 + Tables::kOddsLowest) << 23;
  const std::uint32_t index = (bits - from) >> 18;
  const float fraction = static_cast<float>(bits & 0x3ffffu) * (1.0f / (1 << 18));
  return tables.odds[index] + fraction * (tables.odds[index + 1] - tables.odds[index]);
}

}  // namespace par5::coder
