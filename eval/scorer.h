// What evaluation asks of whoever computes the model. A scorer returns full normalised distributions; the targets are
// never an argument, so a score cannot depend on them. A learner gets tokens only as ScoredWindows, which nobody but
// the broker (eval/broker.h) can make, and the broker makes them only from targets that have been scored.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "core/error.h"

namespace par5 {

// Positions [first, last) of a window. Position p predicts the token after the window's input p.
struct PositionRange {
  std::int64_t first = 0;
  std::int64_t last = 0;
  bool operator==(const PositionRange&) const = default;
};

// Windows in rows of equal length: `inputs` is row-major [windows, length] token ids. `wanted[w]` are the positions of
// window w whose distributions are asked for. Inputs from wanted[w].last on are padding (token 0) where a window is
// shorter than the row: a causal model's wanted positions cannot see them.
struct WindowBatch {
  std::span<const std::uint16_t> inputs;
  std::int64_t length = 0;
  std::span<const PositionRange> wanted;
  // Not 0: every row is the one before it moved on by so many tokens, so that a scorer may share work between them.
  std::int64_t shift = 0;

  std::int64_t windows() const { return static_cast<std::int64_t>(wanted.size()); }
  std::int64_t wanted_rows() const {
    std::int64_t rows = 0;
    for (const PositionRange& range : wanted) rows += range.last - range.first;
    return rows;
  }
};

class Scorer {
 public:
  virtual ~Scorer() = default;
  virtual std::int64_t vocab() const = 0;
  // Name for reports: "torch float32".
  virtual std::string name() const = 0;
  // Calls `sink` with natural-log probabilities, row-major [rows, vocab], for consecutive blocks of the wanted
  // positions in order (window by window, then position by position). The span is valid during the call only. An
  // error of the sink ends the scoring and is returned.
  using Sink =
      std::function<Status(std::int64_t first_row, std::int64_t rows, std::span<const float> log_probabilities)>;
  virtual Status score(const WindowBatch& batch, const Sink& sink) = 0;
};

// Training windows whose targets have all been scored: inputs and next-token targets, row-major [windows, length].
// Only the broker makes them. The spans are valid during the call that hands them over.
class ScoredWindows {
 public:
  ScoredWindows(const ScoredWindows&) = delete;
  ScoredWindows& operator=(const ScoredWindows&) = delete;
  std::span<const std::uint16_t> inputs() const { return inputs_; }
  std::span<const std::uint16_t> targets() const { return targets_; }
  std::int64_t windows() const { return windows_; }
  std::int64_t length() const { return length_; }

 private:
  friend class TokenBroker;
  ScoredWindows(std::span<const std::uint16_t> inputs, std::span<const std::uint16_t> targets, std::int64_t windows,
                std::int64_t length)
      : inputs_(inputs), targets_(targets), windows_(windows), length_(length) {}
  std::span<const std::uint16_t> inputs_;
  std::span<const std::uint16_t> targets_;
  std::int64_t windows_;
  std::int64_t length_;
};

// Test-time training: the side of a model that learns from tokens that have been scored.
class Learner {
 public:
  virtual ~Learner() = default;
  // Number of values that a step may change. 0: this kind of learning does not apply to the model.
  virtual std::int64_t adapted_values() const = 0;
  // One optimiser step on the mean training loss over all positions of the windows.
  virtual Status step(const ScoredWindows& windows, double learning_rate) = 0;
  // Back to the model as loaded, with no optimiser state.
  virtual void reset() = 0;
  // What it learns with, for the ledger: "sgd momentum 0.9 clip 1".
  virtual std::string description() const = 0;
  // Everything that steps have changed: the adapted values and the optimiser's memory. Equal bytes, equal state: a
  // learner that is given the bytes goes on exactly as the one that they came from. `restore` refuses, as bad_data,
  // bytes of another size than its own.
  virtual Result<std::vector<std::byte>> state() const = 0;
  virtual Status restore(std::span<const std::byte> state) = 0;
};

}  // namespace par5
