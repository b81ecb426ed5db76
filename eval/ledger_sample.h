// Some blocks of a ledger scored anew: what the offline audit cannot show, that the scores are the model's and the
// bytes the text's.
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
  std::int64_t blocks = 4;         // drawn without repetition; all where there are no more
  std::int64_t first_targets = 0;  // only blocks within the first so many targets are drawn; 0: any
  std::uint64_t seed = 1;
  std::int64_t batch_tokens = 16384;
};

struct LedgerSample {
  AuditCheck check;                      // id "rescored"
  std::int64_t blocks = 0, targets = 0;  // that were compared
  // What had to be run for that: without learning no more than the sample and what shares its windows, else everything
  // before it.
  std::int64_t run_targets = 0, run_updates = 0;
  bool bit_exact = false;         // both engines are the exact one, so scores must be equal
  double largest_difference = 0;  // of a target's bits
  double mean_difference = 0;     // bits: here less recorded
};

// How far another engine than the ledger's may be from it, in bits: of one target, and on average.
inline constexpr double kSampleTargetTolerance = 0.05;
inline constexpr double kSampleMeanTolerance = 1e-3;

// Scores the targets of some of the ledger's blocks in the windows of its declared mode. The scorer must apply the
// declared temperature. In a mode that learns a score depends on every update before it: `learner`, which is the
// scorer's own model, takes the recorded updates again from the start to the last drawn block, except between two
// resets with no drawn target; where the engine is exact its values are also held against their recorded hashes. The
// cost is said on stderr first.
//
// fail: a score, a learnt value or a charged byte is another, the events are not those of the mode, or the data is
// another. unknown: the mode learns and `learner` is null or another than the declared one; nothing is in the ledger;
// or differences too large for rounding and too small to tell. Errors are the scorer's and the learner's and those of a
// ledger without a declaration.
Result<LedgerSample> rescore_blocks(std::span<const std::byte> ledger, const EvalData& data, Scorer& scorer,
                                    const LedgerSampleSettings& settings, Learner* learner = nullptr);

}  // namespace par5
