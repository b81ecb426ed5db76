#include "eval/broker.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "core/cancel.h"

namespace par5 {
namespace {

// How far the probabilities of a float32 scorer may sum from 1.
constexpr double kSumTolerance = 1e-4;

Status check_distribution(std::span<const float> log_probabilities) {
  double sum = 0;
  for (const float value : log_probabilities) sum += std::exp(static_cast<double>(value));
  if (std::abs(sum - 1) <= kSumTolerance) return {};
  return bad_data("the model's probabilities sum to " + std::to_string(sum) + " instead of 1");
}

// How far each window has moved on from the one before it, where that and the length is the same for all; else 0.
std::int64_t common_shift(std::span<const Window> windows) {
  if (windows.size() < 2) return 0;
  const std::int64_t shift = windows[1].start - windows[0].start;
  for (std::size_t w = 1; w < windows.size(); ++w)
    if (windows[w].start - windows[w - 1].start != shift || windows[w].length != windows[0].length) return 0;
  return std::max<std::int64_t>(shift, 0);
}

}  // namespace

Result<TokenBroker> TokenBroker::create(std::vector<std::uint16_t> tokens, std::int64_t targets) {
  if (targets < 1 || targets >= static_cast<std::int64_t>(tokens.size()))
    return internal_error(std::to_string(targets) + " targets cannot be scored in " + std::to_string(tokens.size()) +
                          " tokens");
  return TokenBroker(std::move(tokens), targets);
}

Status TokenBroker::check(const Window& window) const {
  if (window.start < 0 || window.first_scored < 0 || window.scored() < 1 || window.end_target() > ledger_.targets() + 1)
    return internal_error("a window of inputs [" + std::to_string(window.start) + ", " +
                          std::to_string(window.start + window.length) + ") scored from " +
                          std::to_string(window.first_scored) + " is outside the stream");
  if (ledger_.any_scored(window.first_target(), window.end_target()))
    return internal_error("a target in [" + std::to_string(window.first_target()) + ", " +
                          std::to_string(window.end_target()) + ") would be scored twice");
  return {};
}

Status TokenBroker::score(Scorer& scorer, std::span<const Window> windows, std::int64_t batch_tokens,
                          Progress* progress) {
  while (!windows.empty()) {
    if (cancelled()) return interrupted();
    std::size_t count = 0;
    std::int64_t length = 0;
    for (; count < windows.size(); ++count) {
      const std::int64_t longest = std::max(length, windows[count].length);
      if (count > 0 && longest * static_cast<std::int64_t>(count + 1) > batch_tokens) break;
      length = longest;
    }
    P5_OK(score_batch(scorer, windows.first(count), length));
    windows = windows.subspan(count);
    if (progress) progress->update(static_cast<std::uint64_t>(ledger_.scored()));
  }
  return {};
}

Status TokenBroker::score_batch(Scorer& scorer, std::span<const Window> windows, std::int64_t length) {
  std::vector<std::uint16_t> inputs(windows.size() * static_cast<std::size_t>(length), 0);
  std::vector<PositionRange> wanted;
  std::vector<std::uint16_t> targets;
  for (std::size_t w = 0; w < windows.size(); ++w) {
    const Window& window = windows[w];
    P5_OK(check(window));
    std::copy_n(tokens_.begin() + window.start, window.length, inputs.begin() + static_cast<std::int64_t>(w) * length);
    wanted.push_back({window.first_scored, window.length});
    targets.insert(targets.end(), tokens_.begin() + window.first_target(), tokens_.begin() + window.end_target());
  }

  const std::int64_t vocab = scorer.vocab();
  std::vector<float> nats;
  nats.reserve(targets.size());
  const auto gather = [&](std::int64_t first_row, std::int64_t rows, std::span<const float> rows_of_logs) -> Status {
    if (first_row != static_cast<std::int64_t>(nats.size()) ||
        nats.size() + static_cast<std::size_t>(rows) > targets.size() ||
        static_cast<std::int64_t>(rows_of_logs.size()) != rows * vocab)
      return internal_error("the scorer's rows do not follow the wanted positions");
    if (rows > 0) P5_OK(check_distribution(rows_of_logs.first(static_cast<std::size_t>(vocab))));
    for (std::int64_t row = 0; row < rows; ++row) {
      const std::uint16_t target = targets[nats.size()];
      if (target >= vocab)
        return bad_data("token id " + std::to_string(target) + " is beyond the model's vocabulary of " +
                        std::to_string(vocab));
      nats.push_back(-rows_of_logs[static_cast<std::size_t>(row * vocab + target)]);
    }
    return {};
  };
  P5_OK(scorer.score({inputs, length, wanted, common_shift(windows)}, gather));
  if (nats.size() != targets.size()) return internal_error("the scorer left out some of the wanted positions");

  std::span<const float> rest = nats;
  for (const Window& window : windows) {
    P5_OK(ledger_.record_scores(window.first_target(), rest.first(static_cast<std::size_t>(window.scored()))));
    rest = rest.subspan(static_cast<std::size_t>(window.scored()));
  }
  return {};
}

Status TokenBroker::learn(Learner& learner, std::int64_t first_target, std::int64_t windows, std::int64_t length,
                          double learning_rate) {
  if (windows < 1 || length < 1) return internal_error("a training step needs at least one window");
  const std::int64_t end = first_target + windows * length;
  P5_OK(ledger_.record_update(first_target, end, length, learning_rate));
  const std::span<const std::uint16_t> all = tokens_;
  const auto count = static_cast<std::size_t>(windows * length);
  return learner.step(ScoredWindows(all.subspan(static_cast<std::size_t>(first_target - 1), count),
                                    all.subspan(static_cast<std::size_t>(first_target), count), windows, length),
                      learning_rate);
}

void TokenBroker::reset(Learner& learner) {
  learner.reset();
  ledger_.record_reset();
}

}  // namespace par5
