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

Status TokenBroker::keep(LedgerFile& file, Learner* learner, double snapshot_seconds) {
  if (!ledger_.events().empty()) return internal_error("the ledger's file was named after the first score");
  file_ = &file;
  learner_ = learner;
  snapshot_seconds_ = snapshot_seconds;
  last_snapshot_ = std::chrono::steady_clock::now();
  caught_up_ = file.recorded_events().empty();
  return {};
}

Status TokenBroker::score(Scorer& scorer, std::span<const Window> windows, std::int64_t batch_tokens,
                          Progress* progress) {
  while (!windows.empty()) {
    if (cancelled()) {
      P5_OK(snapshot(/*now=*/true));
      return interrupted();
    }
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
    P5_OK(snapshot(/*now=*/false));
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

  P5_TRY(std::vector<std::uint32_t> units, recorded_scores(windows));
  const std::size_t recorded = units.size();
  if (recorded < targets.size()) {
    // A batch that the record ends in is scored whole: a scorer's last bits may depend on what shares the batch.
    P5_OK(catch_up());
    units.clear();
    units.reserve(targets.size());
    const std::int64_t vocab = scorer.vocab();
    const auto gather = [&](std::int64_t first_row, std::int64_t rows, std::span<const float> rows_of_logs) -> Status {
      if (first_row != static_cast<std::int64_t>(units.size()) ||
          units.size() + static_cast<std::size_t>(rows) > targets.size() ||
          static_cast<std::int64_t>(rows_of_logs.size()) != rows * vocab)
        return internal_error("the scorer's rows do not follow the wanted positions");
      if (rows > 0) P5_OK(check_distribution(rows_of_logs.first(static_cast<std::size_t>(vocab))));
      for (std::int64_t row = 0; row < rows; ++row) {
        const std::uint16_t target = targets[units.size()];
        if (target >= vocab)
          return bad_data("token id " + std::to_string(target) + " is beyond the model's vocabulary of " +
                          std::to_string(vocab));
        const float nats = -rows_of_logs[static_cast<std::size_t>(row * vocab + target)];
        const auto rounded = ledger_units(nats);
        if (!rounded)
          return bad_data("the model gives token id " + std::to_string(target) + " no usable probability (" +
                          std::to_string(nats) + " nats)");
        units.push_back(*rounded);
      }
      return {};
    };
    P5_OK(scorer.score({inputs, length, wanted, common_shift(windows)}, gather));
    if (units.size() != targets.size()) return internal_error("the scorer left out some of the wanted positions");
  }

  std::size_t next = 0;
  for (const Window& window : windows) {
    const auto count = static_cast<std::size_t>(window.scored());
    const auto scores = std::span<const std::uint32_t>(units).subspan(next, count);
    P5_OK(ledger_.record_scores(window.first_target(), scores));
    const std::size_t known = std::min(recorded - std::min(recorded, next), count);
    if (file_ && known < count)
      P5_OK(file_->add_scores(window.first_target() + static_cast<std::int64_t>(known), scores.subspan(known)));
    next += count;
  }
  return {};
}

Status TokenBroker::learn(Learner& learner, std::int64_t first_target, std::int64_t windows, std::int64_t length,
                          double learning_rate) {
  if (windows < 1 || length < 1) return internal_error("a training step needs at least one window");
  const std::int64_t end = first_target + windows * length;
  P5_OK(ledger_.record_update(first_target, end, length, learning_rate));
  const bool recorded = replaying();
  if (recorded)
    P5_OK(pass(ledger_.events().back()));
  else
    P5_OK(catch_up());
  if (!recorded || !file_->recorded_state()) {
    const std::span<const std::uint16_t> all = tokens_;
    const auto count = static_cast<std::size_t>(windows * length);
    P5_OK(learner.step(ScoredWindows(all.subspan(static_cast<std::size_t>(first_target - 1), count),
                                     all.subspan(static_cast<std::size_t>(first_target), count), windows, length),
                       learning_rate));
  }
  if (!file_) return {};
  if (!recorded) P5_OK(file_->add(ledger_.events().back()));
  if (ledger_.updates() % kLedgerContentInterval == 0) P5_OK(record_content(learner));
  return recorded ? Status() : snapshot(cancelled());
}

// The hash of the learner's values is part of the record: two evaluations with the same updates have the same hashes.
Status TokenBroker::record_content(const Learner& learner) {
  const bool recorded = replaying();
  if (recorded && file_->recorded_state()) {
    const LedgerEvent& known = file_->recorded_events()[replay_.event];
    ledger_.record_content(known.content);
    return pass(ledger_.events().back());
  }
  P5_TRY(const auto state, learner.state());
  ledger_.record_content(sha256(state));
  return recorded ? pass(ledger_.events().back()) : file_->add(ledger_.events().back());
}

Status TokenBroker::reset(Learner& learner) {
  ledger_.record_reset();
  const bool recorded = replaying();
  if (recorded)
    P5_OK(pass(ledger_.events().back()));
  else
    P5_OK(catch_up());
  learner.reset();
  return file_ && !recorded ? file_->add(ledger_.events().back()) : Status();
}

Result<std::vector<std::uint32_t>> TokenBroker::recorded_scores(std::span<const Window> windows) {
  std::vector<std::uint32_t> units;
  for (const Window& window : windows)
    for (std::int64_t target = window.first_target(); target < window.end_target();) {
      if (!replaying()) return units;
      const LedgerEvent& event = file_->recorded_events()[replay_.event];
      if (event.kind != LedgerEvent::Kind::scored || event.first_target + replay_.scored != target)
        return bad_data("the ledger's record has something else where target " + std::to_string(target) +
                        " is scored now: it was made by another evaluation");
      const std::int64_t left = event.end_target - target;
      const std::int64_t count = std::min(left, window.end_target() - target);
      const auto begin = file_->recorded_units().begin() + static_cast<std::ptrdiff_t>(replay_.units);
      units.insert(units.end(), begin, begin + count);
      replay_.units += static_cast<std::size_t>(count);
      target += count;
      replay_.scored = count < left ? replay_.scored + count : 0;
      replay_.event += count == left;
    }
  return units;
}

Status TokenBroker::pass(const LedgerEvent& event) {
  LedgerEvent known = file_->recorded_events()[replay_.event];
  known.updates = event.updates;
  if (replay_.scored != 0 || !(known == event))
    return bad_data(event.kind == LedgerEvent::Kind::content
                        ? "the updates made again do not lead to the values that the ledger records"
                        : "the ledger's record has something else where an update or reset is due: it was made by "
                          "another evaluation");
  ++replay_.event;
  return {};
}

Status TokenBroker::catch_up() {
  if (caught_up_) return {};
  caught_up_ = true;
  if (learner_ && file_->recorded_state()) return learner_->restore(*file_->recorded_state());
  return {};
}

Status TokenBroker::snapshot(bool now) {
  if (!file_ || !caught_up_) return {};
  const auto time = std::chrono::steady_clock::now();
  if (!now && std::chrono::duration<double>(time - last_snapshot_).count() < snapshot_seconds_) return {};
  last_snapshot_ = time;
  if (!learner_) return file_->snapshot(std::nullopt);
  P5_TRY(auto state, learner_->state());
  return file_->snapshot(std::move(state));
}

}  // namespace par5
