// Some blocks of a ledger scored anew: what the offline audit cannot show, that the scores are the model's and the bytes the
// text's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "core/verdict.h"
#include "eval/eval_data.h"
#include "eval/ledger_format.h"
#include "eval/scorer.h"

namespace par5 {

struct LedgerSampleSettings {
  std::int64_t blocks = 4;  // drawn without repetition; all where there are no more
  std::uint64_t seed = 1;
  std::int64_t batch_tokens = 16384;
};

struct LedgerSample {
  AuditCheck check;  // id "rescored"
  std::int64_t blocks = 0, targets = 0;  // that were scored anew
  bool bit_exact = false;                // both engines are the exact one, so scores must be equal
  double largest_difference = 0;         // of a target's bits
  double mean_difference = 0;            // bits: here less recorded
};

// How far another engine than the ledger's may be from it, in bits: of one target, and on average.
inline constexpr double kSampleTargetTolerance = 0.05;
inline constexpr double kSampleMeanTolerance = 1e-3;

// Scores the targets of some of the ledger's blocks in the windows of its declared mode. The scorer must apply the declared
// temperature. fail: a score or a charged byte is another, or the data is. unknown: the mode learns, so that its scores
// depend on every update before; or nothing is in the ledger. Errors are the scorer's and those of a ledger without a declaration.
Result<LedgerSample> rescore_blocks(std::span<const std::byte> ledger, const EvalData& data, Scorer& scorer, const LedgerSampleSettings& settings);

}  // namespace par5
