#include "pack/statistics.h"

#include <array>
#include <cmath>

#include "pack/quantizer.h"

namespace par5 {

double order0_bytes(std::span<const std::uint64_t> counts) {
  double total = 0;
  for (const std::uint64_t count : counts) total += static_cast<double>(count);
  double bits = 0;
  for (const std::uint64_t count : counts)
    if (count) bits += static_cast<double>(count) * std::log2(total / static_cast<double>(count));
  return bits / 8;
}

double order0_bytes(std::span<const std::uint8_t> bytes) {
  std::array<std::uint64_t, 256> counts{};
  for (const std::uint8_t byte : bytes) ++counts[byte];
  return order0_bytes(std::span<const std::uint64_t>(counts));
}

LevelStatistics level_statistics(Grid grid, std::span<const std::int8_t> codes) {
  std::array<std::uint64_t, 256> counts{};
  for (const std::int8_t code : codes) ++counts[static_cast<std::size_t>(code + 128)];
  LevelStatistics statistics;
  const int step = grid == Grid::binary ? 2 : 1;
  for (int code = -max_code(grid); code <= max_code(grid); code += step)
    statistics.histogram.push_back(counts[static_cast<std::size_t>(code + 128)]);
  statistics.count = codes.size();
  statistics.order0_bytes = order0_bytes(std::span<const std::uint64_t>(statistics.histogram));
  if (!codes.empty()) {
    const auto total = static_cast<double>(codes.size());
    statistics.zero_share = static_cast<double>(counts[128]) / total;
    statistics.bits_per_weight = 8 * statistics.order0_bytes / total;
  }
  return statistics;
}

}  // namespace par5
