// Blocks of a ledger scored anew by the exact engine.
#pragma once

#include "cli/ledger_audit.h"

namespace par5 {

// In the declared arithmetic where that is one of the exact engine's, else in fp32; learning by its own learner.
// unknown: the mode learns in a way that only LibTorch's learner can.
Result<LedgerSample> rescore_exactly(const RescoreRequest& request, std::size_t threads);

}  // namespace par5
