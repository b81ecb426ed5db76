#include "eval/approximate.h"

#include <algorithm>

#include "eval/broker.h"
#include "eval/paired.h"

namespace par5 {
namespace {

// `count` of the windows behind the first one, evenly spread; all that there are where they are fewer.
std::vector<Window> spread_windows(std::span<const Window> plan, std::int64_t count) {
  if (plan.size() > 1) plan = plan.subspan(1);
  const auto size = static_cast<std::int64_t>(plan.size());
  count = std::min(std::max<std::int64_t>(count, 1), size);
  std::vector<Window> windows;
  for (std::int64_t i = 0; i < count; ++i) windows.push_back(plan[static_cast<std::size_t>(i * size / count)]);
  return windows;
}

}  // namespace

Result<ScoreRow> run_approximate(const EvalData& data, const Mode& mode, const EvalSettings& settings,
                                 Scorer& approximate, Scorer& exact, std::int64_t sample_targets) {
  if (!mode.stream && mode.approximate_stride <= settings.stride)
    return usage_error(mode_name(mode) + " approximates a stride of " + std::to_string(settings.stride) +
                           ", so its own must be larger",
                       "--mode");
  P5_TRY(ScoreRow row, run_mode(data, mode, settings, approximate, nullptr));
  P5_TRY(const std::vector<Window> plan, sliding_plan(row.targets, row.window, settings.stride));
  const std::vector<Window> sample = spread_windows(plan, (sample_targets + settings.stride - 1) / settings.stride);
  P5_TRY(TokenBroker broker, TokenBroker::create(data.tokens, row.targets));
  P5_OK(broker.score(exact, sample, settings.batch_tokens, nullptr));

  ApproximationError error;
  error.stride = settings.stride;
  std::vector<DifferencePart> parts;
  double exact_bits = 0, bytes = 0;
  for (const Window& window : sample) {
    DifferencePart part;
    for (std::int64_t t = window.first_target(); t < window.end_target(); ++t) {
      const auto index = static_cast<std::size_t>(t - 1);
      const double bits = ledger_bits(broker.ledger().units()[index]);
      part.bits += ledger_bits(row.target_units[index]) - bits;
      part.bytes += target_bytes(data, t);
      exact_bits += bits;
    }
    bytes += part.bytes;
    error.targets += window.scored();
    parts.push_back(part);
  }
  if (bytes == 0)
    return bad_data("the sample of " + std::to_string(error.targets) +
                    " targets is charged no bytes: take a larger one");
  double difference = 0;
  for (const DifferencePart& part : parts) difference += part.bits;
  error.bpb = difference / bytes;
  error.exact_bpb = exact_bits / bytes;
  if (const auto paired = difference_of(parts)) {
    error.low = paired->low;
    error.high = paired->high;
  }
  row.approximation = error;
  return row;
}

}  // namespace par5
