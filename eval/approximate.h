// Approximations of sliding windows: cheaper, and never without their measured distance from the exact scores.
#pragma once

#include "eval/score.h"

namespace par5 {

// Scores the data in a mode that approximates (mode_approximates) by `approximate`, then windows of the exact plan,
// evenly spread over the text and with about `sample_targets` scored targets together, by `exact`:
// ScoreRow::approximation is the signed difference on these. The first window, which both have in common, is not
// sampled where there are others. For a larger stride both scorers may be the same. A usage error for a stride that is
// not above the exact one's. An approximation has no ledger: what is published must be exact (run_mode refuses it).
Result<ScoreRow> run_approximate(const EvalData& data, const Mode& mode, const EvalSettings& settings,
                                 Scorer& approximate, Scorer& exact, std::int64_t sample_targets);

}  // namespace par5
