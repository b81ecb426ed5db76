// What a training step costs: FLOPs as they are done, seconds, fresh pages.
#pragma once

#include <chrono>
#include <cstdint>
#include <vector>

#include "core/config.h"
#include "pack/architecture.h"

namespace par5 {

// Pages that this process had to map in so far: a step that reuses its memory has few.
long minor_faults();

// FLOPs of the products in a forward and a backward pass over `tokens` in windows of `sequence`: 6 per weight of a
// matrix and token, the head over `vocabulary` tokens included, and causal attention (two products forward, five
// backward, each over the keys that a query sees).
double pass_flops(const ModelConfig& model, std::int64_t tokens, std::int64_t sequence, double vocabulary);

// FLOPs of the Newton–Schulz iterations of a step.
double orthogonalization_flops(const std::vector<TensorSpec>& specs, const OptimizerConfig& optimizer);

// Sums over the steps of a session. Page faults of its first step, which fills the memory, do not count.
class StepMeter {
 public:
  void begin();
  void end(double flops);
  double flops_per_second() const { return seconds_ > 0 ? flops_ / seconds_ : 0; }
  double page_faults_per_step() const {
    return steps_ > 1 ? static_cast<double>(faults_) / static_cast<double>(steps_ - 1) : 0;
  }

 private:
  std::chrono::steady_clock::time_point start_;
  long start_faults_ = 0, faults_ = 0;
  std::int64_t steps_ = 0;
  double flops_ = 0, seconds_ = 0;
};

}  // namespace par5
