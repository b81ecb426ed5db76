// Test-time training of the published scalars-only kind (openai/parameter-golf pull request 2086): score a chunk, learn
// from it, go on. Which values learn is the learner's matter (the calibration tensors).
#pragma once

#include <cstdint>
#include <span>

#include "core/config.h"
#include "core/progress.h"
#include "eval/broker.h"

namespace par5 {

// The learning rate of chunk c of n: lr · ½ (1 + cos(π c / (n − 1))). It needs the total count, so this mode cannot
// stream. 0 for the last chunk, which is not learnt from anyway.
double ttt_learning_rate(double lr, std::int64_t chunk, std::int64_t chunks);

// Chunk c holds targets [c · chunk_tokens + 1, (c + 1) · chunk_tokens + 1). The windows of `plan` (in stream order)
// whose first scored target lies in the chunk are scored; then, but for the last chunk, `epochs` passes over the
// chunk's disjoint windows of `window` targets (what is left of the chunk behind the last full one is not learnt from),
// `batch_windows` to a step.
Status run_chunk_ttt(TokenBroker& broker, Scorer& scorer, Learner& learner, std::span<const Window> plan,
                     std::int64_t window, const TttConfig& ttt, std::int64_t batch_tokens, Progress* progress);

}  // namespace par5
