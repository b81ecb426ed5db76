#include "eval/engine_scorer.h"

#include <algorithm>

namespace par5 {
namespace {

// Windows are scored in groups of about this many tokens: enough to share the decoding of the weights.
constexpr std::int64_t kTokensAtOnce = 256;

}  // namespace

Result<std::unique_ptr<EngineScorer>> EngineScorer::create(const StoredModel& stored, const EngineOptions& options,
                                                           double temperature) {
  P5_TRY(Engine engine, Engine::create(stored, options));
  return std::unique_ptr<EngineScorer>(new EngineScorer(std::move(engine), temperature));
}

std::string EngineScorer::name() const { return "exact " + std::string(arithmetic_name(engine_.arithmetic())); }

Status EngineScorer::score(const WindowBatch& batch, const Sink& sink) {
  if (batch.length < 1) return {};
  const std::int64_t at_once =
      std::clamp<std::int64_t>(kTokensAtOnce / batch.length, 1, std::max<std::int64_t>(batch.windows(), 1));
  if (windows_.capacity() < batch.length || windows_.count() < at_once) {
    P5_TRY(windows_, engine_.make_windows(at_once, batch.length));
  }
  std::int64_t scored = 0;
  for (std::int64_t first = 0; first < batch.windows(); first += at_once) {
    std::vector<WindowInput> inputs;
    const std::int64_t end = std::min(batch.windows(), first + at_once);
    std::int64_t rows = 0;
    for (std::int64_t w = first; w < end; ++w) {
      const PositionRange& range = batch.wanted[static_cast<std::size_t>(w)];
      windows_.truncate(w - first, 0);
      inputs.push_back(
          {w - first,
           batch.inputs.subspan(static_cast<std::size_t>(w * batch.length), static_cast<std::size_t>(range.last)),
           range.first});
      rows += range.last - range.first;
    }
    P5_OK(engine_.append(windows_, inputs, [&](std::int64_t row, std::int64_t count, std::span<const float> logits) {
      probabilities_.resize(std::max(probabilities_.size(), logits.size()));
      const std::span<float> out(probabilities_.data(), logits.size());
      engine_.log_probabilities(logits, temperature_, out);
      return sink(scored + row, count, out);
    }));
    scored += rows;
  }
  return {};
}

}  // namespace par5
