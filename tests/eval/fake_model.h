// A small model in plain loops for tests: the next token's distribution depends on all inputs of the window before it
// and on one learnt number, and every call is recorded.
#pragma once

#include <cmath>
#include <cstring>
#include <vector>

#include "eval/scorer.h"

namespace par5 {

class FakeModel : public Scorer, public Learner {
 public:
  explicit FakeModel(std::int64_t vocab) : vocab_(vocab) {}

  std::int64_t vocab() const override { return vocab_; }
  std::string name() const override { return "fake"; }
  std::int64_t adapted_values() const override { return 1; }

  // Log-probabilities after `context` (the window's inputs up to the position).
  std::vector<float> predict(std::span<const std::uint16_t> context) const {
    double state = learnt_;
    for (const std::uint16_t token : context) state = 0.7 * state + 0.1 * token;
    std::vector<double> logits;
    double sum = 0;
    for (std::int64_t v = 0; v < vocab_; ++v) {
      logits.push_back(std::sin(state * static_cast<double>(v + 1)));
      sum += std::exp(logits.back());
    }
    std::vector<float> row;
    for (const double logit : logits) row.push_back(static_cast<float>(logit - std::log(sum)));
    return row;
  }

  Status score(const WindowBatch& batch, const Sink& sink) override {
    largest_batch = std::max(largest_batch, static_cast<std::int64_t>(batch.inputs.size()));
    std::int64_t row = 0;
    for (std::int64_t w = 0; w < batch.windows(); ++w) {
      const auto window =
          batch.inputs.subspan(static_cast<std::size_t>(w * batch.length), static_cast<std::size_t>(batch.length));
      const PositionRange range = batch.wanted[static_cast<std::size_t>(w)];
      for (std::int64_t p = range.first; p < range.last; ++p) {
        std::vector<float> logs = predict(window.first(static_cast<std::size_t>(p) + 1));
        if (spoil) spoil(logs);
        P5_OK(sink(row++, 1, logs));
      }
    }
    return {};
  }

  Status step(const ScoredWindows& windows, double learning_rate) override {
    steps.push_back({{windows.inputs().begin(), windows.inputs().end()},
                     {windows.targets().begin(), windows.targets().end()},
                     windows.windows(),
                     windows.length(),
                     learning_rate});
    learnt_ += hidden_factor * learning_rate * static_cast<double>(windows.targets()[0]);
    return {};
  }
  void reset() override { learnt_ = 0; }
  std::string description() const override { return "sum of first targets"; }
  Result<std::vector<std::byte>> state() const override {
    const auto* bytes = reinterpret_cast<const std::byte*>(&learnt_);
    return std::vector<std::byte>(bytes, bytes + sizeof learnt_);
  }
  Status restore(std::span<const std::byte> state) override {
    if (state.size() != sizeof learnt_) return bad_data("the snapshot is another model's");
    std::memcpy(&learnt_, state.data(), sizeof learnt_);
    return {};
  }

  struct Step {
    std::vector<std::uint16_t> inputs, targets;
    std::int64_t windows, length;
    double learning_rate;
  };
  std::vector<Step> steps;
  std::int64_t largest_batch = 0;
  std::function<void(std::vector<float>&)> spoil;
  double hidden_factor = 1;  // what its steps are times those that it is told to take

 private:
  std::int64_t vocab_;
  double learnt_ = 0;
};

}  // namespace par5
