#include "train/level_report.h"

#include "pack/statistics.h"

namespace par5 {

LevelReport LevelReporter::report(const StoredModel& stored) {
  std::vector<std::int8_t> codes;
  for (const StoredTensor& tensor : stored.tensors)
    if (const auto* quantized = std::get_if<QuantizedTensor>(&tensor.data))
      codes.insert(codes.end(), quantized->codes.begin(), quantized->codes.end());
  LevelReport report;
  if (codes.empty()) return report;
  const auto count = static_cast<double>(codes.size());
  for (const std::uint64_t level : level_statistics(stored.quantizer.grid, codes).histogram)
    report.shares.push_back(static_cast<double>(level) / count);
  if (previous_.size() == codes.size()) {
    std::size_t changed = 0;
    for (std::size_t i = 0; i < codes.size(); ++i) changed += codes[i] != previous_[i];
    report.churn = static_cast<double>(changed) / count;
  }
  previous_ = std::move(codes);
  return report;
}

}  // namespace par5
