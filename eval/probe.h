// Causality probes: a scorer is asked again with other targets, futures and later documents, and its earlier
// probabilities must not change by a bit.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/verdict.h"
#include "eval/eval_data.h"
#include "eval/scorer.h"

namespace par5 {

struct ProbeSettings {
  std::int64_t window = 0;   // tokens of a probed window
  std::int64_t windows = 8;  // probed windows, spread over the data
  std::int64_t cuts = 4;     // positions of each behind which something is changed
  std::uint64_t seed = 1;    // of positions and changed tokens
};

struct ProbeReport {
  Verdict verdict = Verdict::unknown;
  // target, future, documents, repeat, normalised, nonnegative; evidence names the first place where one fails.
  std::vector<AuditCheck> checks;
  std::int64_t rows = 0;         // distributions that were compared
  double largest_sum_error = 0;  // of |Σp - 1|
  std::int64_t exact_sums = 0;   // distributions of whole numbers whose sum is their total, without rounding
};

// How far a float scorer's probabilities may sum from 1.
inline constexpr double kProbeSumTolerance = 1e-5;

// For windows of the data: (target) replaces the one token after a cut, (future) all tokens after it, (documents) what
// stands in the batch's next window and what is scored between two calls, (repeat) nothing. All rows up to the cut, or
// of the whole window, must be the same bits as in the first call. Every row must sum to 1 within kProbeSumTolerance
// and hold logarithms of numbers from 0 to 1; of a FrequencyScorer every row's whole numbers must sum to their total
// exactly, be 1 or more, and give these logarithms. Errors are those of the scorer; findings are failed checks.
Result<ProbeReport> probe_causality(const EvalData& data, Scorer& scorer, const ProbeSettings& settings);

}  // namespace par5
