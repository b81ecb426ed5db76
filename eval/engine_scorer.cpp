#include "eval/engine_scorer.h"

#include <algorithm>
#include <bit>

#include "core/parallel.h"

namespace par5 {
namespace {

// Windows are scored in groups of about this many tokens: enough to share the decoding of the weights.
constexpr std::int64_t kTokensAtOnce = 256;

constexpr std::uint64_t kTwo52Bits = 0x4330000000000000u;  // of 2^52

// ln x for x >= 1 by additions, multiplications and one division, without branches, so that compilers make vector code
// of a loop over it: x = m · 2^e, m in [sqrt(1/2), sqrt 2), ln m = 2 · artanh((m − 1) / (m + 1)).
inline double log_of(double x) {
  constexpr std::uint64_t kFraction = 0x000fffffffffffffu, kHalfRoot = 0x3fe6a09e667f3bcdu;
  const std::uint64_t shifted = std::bit_cast<std::uint64_t>(x) - kHalfRoot;
  // The exponent as a double, by the bits of 2^52 + exponent; x >= 1, so it is not negative.
  const double e = std::bit_cast<double>(kTwo52Bits | (shifted >> 52)) - 0x1p52;
  const double m = std::bit_cast<double>((shifted & kFraction) + kHalfRoot);
  const double s = (m - 1.0) / (m + 1.0);
  const double t = s * s;
  double p = 1.0 / 15.0;
  p = p * t + 1.0 / 13.0;
  p = p * t + 1.0 / 11.0;
  p = p * t + 1.0 / 9.0;
  p = p * t + 1.0 / 7.0;
  p = p * t + 1.0 / 5.0;
  p = p * t + 1.0 / 3.0;
  p = p * t + 1.0;
  return e * 0x1.62e42fefa39efp-1 + 2.0 * s * p;
}

// A 64-bit integer as a double, as vector code too.
inline double to_double(std::uint64_t value) {
  const double low = std::bit_cast<double>(kTwo52Bits | (value & 0xffffffffu)) - 0x1p52;
  const double high = std::bit_cast<double>(kTwo52Bits | (value >> 32)) - 0x1p52;
  return high * 0x1p32 + low;
}

}  // namespace

void log_shares(std::span<const std::uint64_t> frequencies, std::uint64_t total, std::span<float> out) {
  const double log_total = log_of(to_double(total));
  for (std::size_t i = 0; i < frequencies.size(); ++i)
    out[i] = static_cast<float>(log_of(to_double(frequencies[i])) - log_total);
}

Result<std::unique_ptr<EngineScorer>> EngineScorer::create(const StoredModel& stored, const EngineOptions& options,
                                                           double temperature) {
  P5_TRY(Engine engine, Engine::create(stored, options));
  return std::unique_ptr<EngineScorer>(new EngineScorer(std::make_unique<Engine>(std::move(engine)), temperature));
}

std::string EngineScorer::name() const { return "exact " + std::string(arithmetic_name(engine_.arithmetic())); }

FrequencyScorer::FrequencySink EngineScorer::logs_to(const Sink& sink) {
  return [this, &sink](std::int64_t first_row, std::int64_t rows, std::span<const std::uint64_t> frequencies,
                       std::span<const std::uint64_t> totals) {
    const auto vocab_size = static_cast<std::size_t>(vocab());
    log_probabilities_.resize(std::max(log_probabilities_.size(), frequencies.size()));
    const std::span<float> out(log_probabilities_.data(), frequencies.size());
    parallel_for(static_cast<std::size_t>(rows), engine_.threads(), [&](std::size_t r) {
      log_shares(frequencies.subspan(r * vocab_size, vocab_size), totals[r], out.subspan(r * vocab_size, vocab_size));
    });
    return sink(first_row, rows, out);
  };
}

Status EngineScorer::score(const WindowBatch& batch, const Sink& sink) { return score_frequencies(batch, logs_to(sink)); }

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
