// Online adaptation of the output alone: a bias for each token and one sharpness, learnt from scored targets, behind
// any scorer. p'(v) ∝ exp(sharpness · log p(v) + bias(v)); sharpness starts at 1 (it is 1 / temperature), bias at 0.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/config.h"
#include "eval/scorer.h"

namespace par5 {

// Both a scorer and its learner. A step runs the inner scorer over the learnt windows once more and moves bias and
// sharpness by SGD with momentum on the mean of -log p' over their targets, then `decay` of the way back to the start.
// The gradient is the mean of p'(v) - [v = target] for bias(v), and of Σ p' log p - log p(target) for the sharpness;
// it is clipped to the norm `clip` (0: not at all). Sums are double, in the order of rows.
class OnlineAdapter final : public Scorer, public Learner {
 public:
  // An optimiser other than sgd is a usage error. The inner scorer stays the caller's.
  static Result<std::unique_ptr<OnlineAdapter>> create(Scorer& inner, const TttConfig& online);

  std::int64_t vocab() const override { return inner_.vocab(); }
  std::string name() const override { return inner_.name(); }
  Status score(const WindowBatch& batch, const Sink& sink) override;

  std::int64_t adapted_values() const override { return static_cast<std::int64_t>(values_.size()); }
  Status step(const ScoredWindows& windows, double learning_rate) override;
  void reset() override;
  std::string description() const override;
  // Values, then the running sums of gradients.
  Result<std::vector<std::byte>> state() const override;
  Status restore(std::span<const std::byte> state) override;

 private:
  OnlineAdapter(Scorer& inner, const TttConfig& online);
  // log p' of one row of log p.
  void adapt(std::span<const float> logs, std::span<float> adapted) const;

  Scorer& inner_;
  TttConfig online_;
  std::vector<double> values_;    // bias of each token, then the sharpness less 1: all 0 at first
  std::vector<double> velocity_;  // of each value
};

}  // namespace par5
