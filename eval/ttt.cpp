#include "eval/ttt.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <string>
#include <vector>

#include "core/cancel.h"

namespace par5 {

double ttt_learning_rate(double lr, std::int64_t chunk, std::int64_t chunks) {
  const auto last = static_cast<double>(std::max<std::int64_t>(chunks - 1, 1));
  return lr * 0.5 * (1 + std::cos(std::numbers::pi * static_cast<double>(chunk) / last));
}

Status run_chunk_ttt(TokenBroker& broker, Scorer& scorer, Learner& learner, std::span<const Window> plan,
                     std::int64_t window, const TttConfig& ttt, std::int64_t batch_tokens, Progress* progress) {
  if (ttt.chunk_tokens < window)
    return usage_error("a chunk of " + std::to_string(ttt.chunk_tokens) + " targets holds no window of " +
                           std::to_string(window) + " to learn from",
                       "ttt.chunk_tokens");
  const std::int64_t targets = broker.ledger().targets();
  P5_TRY(const std::vector<std::size_t> bounds, chunk_bounds(plan, targets, ttt.chunk_tokens));
  const auto chunks = static_cast<std::int64_t>(bounds.size()) - 1;
  for (std::int64_t c = 0; c < chunks; ++c) {
    const std::size_t first = bounds[static_cast<std::size_t>(c)], end = bounds[static_cast<std::size_t>(c) + 1];
    P5_OK(broker.score(scorer, plan.subspan(first, end - first), batch_tokens, progress));
    if (c + 1 == chunks) break;
    const double rate = ttt_learning_rate(ttt.lr, c, chunks);
    const std::int64_t windows = ttt.chunk_tokens / window;
    for (std::int64_t epoch = 0; epoch < ttt.epochs; ++epoch)
      for (std::int64_t w = 0; w < windows; w += ttt.batch_windows) {
        if (cancelled()) return interrupted();
        P5_OK(broker.learn(learner, c * ttt.chunk_tokens + w * window + 1, std::min(ttt.batch_windows, windows - w),
                           window, rate));
      }
  }
  return {};
}

}  // namespace par5
