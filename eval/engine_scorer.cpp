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
  return std::unique_ptr<EngineScorer>(new EngineScorer(std::make_unique<Engine>(std::move(engine)), temperature));
}

std::string EngineScorer::name() const { return "exact " + std::string(arithmetic_name(engine_.arithmetic())); }

FrequencyScorer::FrequencySink EngineScorer::logs_to(const Sink& sink) {
  return [this, &sink](std::int64_t first_row, std::int64_t rows, std::span<const std::uint64_t> frequencies,
                       std::span<const std::uint64_t> totals) {
    log_probabilities_.resize(std::max(log_probabilities_.size(), frequencies.size()));
    const std::span<float> out(log_probabilities_.data(), frequencies.size());
    engine_.log_shares(frequencies, totals.first(static_cast<std::size_t>(rows)), out);
    return sink(first_row, rows, out);
  };
}

Status EngineScorer::score(const WindowBatch& batch, const Sink& sink) {
  return score_frequencies(batch, logs_to(sink));
}

Status EngineScorer::score_frequencies(const WindowBatch& batch, const FrequencySink& sink) {
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
    P5_OK(append_frequencies(windows_, inputs, scored, sink));
    scored += rows;
  }
  return {};
}

Status EngineScorer::append(Windows& windows, std::span<const WindowInput> inputs, std::int64_t first_row,
                            const Sink& sink) {
  return append_frequencies(windows, inputs, first_row, logs_to(sink));
}

Status EngineScorer::append_frequencies(Windows& windows, std::span<const WindowInput> inputs, std::int64_t first_row,
                                        const FrequencySink& sink) {
  return engine_.append(windows, inputs, [&](std::int64_t row, std::int64_t count, std::span<const float> logits) {
    frequencies_.resize(std::max(frequencies_.size(), logits.size()));
    totals_.resize(std::max(totals_.size(), static_cast<std::size_t>(count)));
    const std::span<std::uint64_t> frequencies(frequencies_.data(), logits.size());
    engine_.frequencies(logits, temperature_, kFrequencyBits, frequencies, totals_);
    return sink(first_row + row, count, frequencies, std::span(totals_).first(static_cast<std::size_t>(count)));
  });
}

}  // namespace par5
