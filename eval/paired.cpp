#include "eval/paired.h"

#include <cmath>
#include <vector>

#include "eval/ledger.h"

namespace par5 {

std::optional<PairedDifference> difference_of(std::span<const DifferencePart> parts) {
  double bits = 0, bytes = 0;
  for (const DifferencePart& part : parts) {
    bits += part.bits;
    bytes += part.bytes;
  }
  if (parts.size() < 2 || bytes == 0) return std::nullopt;
  const double ratio = bits / bytes;
  double squares = 0;
  for (const DifferencePart& part : parts) {
    const double residual = part.bits - ratio * part.bytes;
    squares += residual * residual;
  }
  const auto count = static_cast<double>(parts.size());
  const double margin = 1.96 * std::sqrt(count / (count - 1) * squares) / bytes;
  return PairedDifference{ratio, ratio - margin, ratio + margin, static_cast<std::int64_t>(parts.size())};
}

std::optional<PairedDifference> paired_difference(std::span<const std::uint32_t> units,
                                                  std::span<const std::uint32_t> reference, const EvalData& data) {
  if (units.size() != reference.size()) return std::nullopt;
  std::vector<DifferencePart> documents;
  for (std::size_t t = 1; t <= units.size(); ++t) {
    // A document's targets begin behind its BOS, which is the last target of the one before.
    if (t == 1 || data.tokens[t - 1] == data.bos) documents.emplace_back();
    documents.back().bits += ledger_bits(units[t - 1]) - ledger_bits(reference[t - 1]);
    documents.back().bytes += target_bytes(data, static_cast<std::int64_t>(t));
  }
  return difference_of(documents);
}

}  // namespace par5
