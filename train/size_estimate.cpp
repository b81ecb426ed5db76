#include "train/size_estimate.h"

#include <cmath>
#include <vector>

#include "pack/statistics.h"

namespace par5 {
namespace {

// fp16 as two byte streams, high and low: exponents repeat, mantissas hardly.
double half_bytes(std::span<const std::uint16_t> codes) {
  std::vector<std::uint8_t> high, low;
  for (const std::uint16_t code : codes) {
    high.push_back(static_cast<std::uint8_t>(code >> 8));
    low.push_back(static_cast<std::uint8_t>(code & 0xff));
  }
  return order0_bytes(std::span<const std::uint8_t>(high)) + order0_bytes(std::span<const std::uint8_t>(low));
}

double scale_bytes(const QuantizedTensor& tensor) {
  if (!tensor.deltas) return half_bytes(tensor.scales);
  std::vector<std::uint8_t> symbols;
  for (const std::int8_t delta : tensor.deltas->deltas) symbols.push_back(static_cast<std::uint8_t>(delta));
  return order0_bytes(std::span<const std::uint8_t>(symbols)) + 4;  // anchor and step
}

}  // namespace

SizeEstimate estimate_size(const StoredModel& stored) {
  double bytes = 0, zeros = 0, weights = 0;
  for (const StoredTensor& tensor : stored.tensors) {
    if (const auto* quantized = std::get_if<QuantizedTensor>(&tensor.data)) {
      const LevelStatistics levels = level_statistics(quantized->quantizer.grid, quantized->codes);
      bytes += levels.order0_bytes + scale_bytes(*quantized);
      zeros += levels.zero_share * static_cast<double>(levels.count);
      weights += static_cast<double>(levels.count);
    } else if (const auto* fp8 = std::get_if<Fp8Tensor>(&tensor.data)) {
      bytes += order0_bytes(std::span<const std::uint8_t>(fp8->codes));
    } else {
      bytes += half_bytes(std::get<Fp16Tensor>(tensor.data).codes);
    }
  }
  return {static_cast<std::uint64_t>(std::ceil(bytes)), weights > 0 ? zeros / weights : 0};
}

}  // namespace par5
