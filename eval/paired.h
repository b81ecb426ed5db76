// Two evaluations of the same targets, compared document by document, or by whatever else is independent.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "eval/eval_data.h"

namespace par5 {

// bpb of one less bpb of the other, with the 95 % interval over documents: the ratio estimator Σd / Σb over documents
// with d bits of difference and b bytes, whose deviation is √(n / (n − 1) Σ(d − r b)²) / Σb; ± 1.96 deviations.
struct PairedDifference {
  double bpb = 0;
  double low = 0;
  double high = 0;
  std::int64_t documents = 0;
};

// What one document adds: bits of difference and charged bytes.
struct DifferencePart {
  double bits = 0;
  double bytes = 0;
};
// The estimator over parts. Nothing where there are fewer than two or no bytes.
std::optional<PairedDifference> difference_of(std::span<const DifferencePart> parts);

// The ledger's scores of both by target id - 1, of the same targets of `data`. Nothing where there are fewer than two
// documents to compare.
std::optional<PairedDifference> paired_difference(std::span<const std::uint32_t> units,
                                                  std::span<const std::uint32_t> reference, const EvalData& data);

}  // namespace par5
