// What a tensor's codes look like: how often each level stands there and how few bytes they could take if nothing but
// that were known.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/config.h"

namespace par5 {

struct LevelStatistics {
  std::vector<std::uint64_t> histogram;  // by level, from -max_code to +max_code (binary: -1, +1)
  std::uint64_t count = 0;
  double zero_share = 0;       // 0 for an empty tensor
  double order0_bytes = 0;     // empirical order-0 entropy of all codes together, in bytes
  double bits_per_weight = 0;  // the same per code, in bits
};

// `codes` must lie in the grid.
LevelStatistics level_statistics(Grid grid, std::span<const std::int8_t> codes);

// Empirical order-0 entropy, in bytes, of symbols that occur `counts[i]` times.
double order0_bytes(std::span<const std::uint64_t> counts);
// The same of a byte stream.
double order0_bytes(std::span<const std::uint8_t> bytes);

}  // namespace par5
