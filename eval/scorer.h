// What evaluation asks of whoever computes the model. A scorer returns full normalised distributions; the targets are
// never an argument, so a score cannot depend on them.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "core/error.h"

namespace par5 {

// Windows of equal length, row-major [windows, length] token ids. Positions [first_scored, length) of every window are
// wanted: position p predicts the token after inputs[p].
struct WindowBatch {
  std::span<const std::uint16_t> inputs;
  std::int64_t windows = 0;
  std::int64_t length = 0;
  std::int64_t first_scored = 0;
};

class Scorer {
 public:
  virtual ~Scorer() = default;
  virtual std::int64_t vocab() const = 0;
  // Name for reports: "torch float32".
  virtual std::string name() const = 0;
  // Calls `sink` with natural-log probabilities, row-major [rows, vocab], for consecutive blocks of the wanted
  // positions in order (window by window, then position by position). The span is valid during the call only.
  using Sink = std::function<void(std::int64_t first_row, std::int64_t rows, std::span<const float> log_probabilities)>;
  virtual Status score(const WindowBatch& batch, const Sink& sink) = 0;
};

// Test-time training: a scorer that can also learn from tokens that have been scored.
class Learner {
 public:
  virtual ~Learner() = default;
  // One pass over windows [windows, length] (inputs and next-token targets) as one optimiser step of mean loss.
  virtual Status step(std::span<const std::uint16_t> inputs, std::span<const std::uint16_t> targets, std::int64_t windows,
                      std::int64_t length, double learning_rate) = 0;
};

}  // namespace par5
