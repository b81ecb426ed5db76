// Two evaluations of the same targets, compared document by document.
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

// `nats` and `reference` by target id - 1, of the same targets of `data`. Nothing where there are fewer than two
// documents to compare.
std::optional<PairedDifference> paired_difference(std::span<const float> nats, std::span<const float> reference,
                                                  const EvalData& data);

}  // namespace par5
