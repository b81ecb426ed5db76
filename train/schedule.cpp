#include "train/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace par5 {

double run_progress(const TrainConfig& train, std::int64_t step, double elapsed) {
  double progress = 0;
  if (train.steps > 0) progress = static_cast<double>(step) / static_cast<double>(train.steps);
  if (train.max_seconds > 0) progress = std::max(progress, elapsed / train.max_seconds);
  return std::clamp(progress, 0.0, 1.0);
}

namespace {

// What is left of the warm-down: 1 before it, 0 at the end of the run.
double warmdown_left(const TrainConfig& train, std::int64_t step, double elapsed) {
  if (train.warmdown_steps == 0) {
    if (train.warmdown_fraction <= 0) return 1.0;
    return std::min(1.0, (1.0 - run_progress(train, step, elapsed)) / train.warmdown_fraction);
  }
  const auto length = static_cast<double>(train.warmdown_steps);
  double left = 1.0;
  if (train.steps > 0) left = std::min(left, static_cast<double>(train.steps - step) / length);
  if (train.max_seconds > 0 && step > 0) {
    const double seconds = length * elapsed / static_cast<double>(step);
    if (seconds > 0) left = std::min(left, (train.max_seconds - elapsed) / seconds);
  }
  return std::max(left, 0.0);
}

}  // namespace

double learning_rate_factor(const TrainConfig& train, std::int64_t step, double elapsed) {
  const double rise = train.warmup_steps > 0
                          ? std::min(1.0, static_cast<double>(step + 1) / static_cast<double>(train.warmup_steps))
                          : 1.0;
  double left = warmdown_left(train, step, elapsed);
  if (train.warmdown_shape == WarmdownShape::cosine) left = 0.5 - 0.5 * std::cos(std::numbers::pi * left);
  return rise * (train.min_lr_fraction + (1.0 - train.min_lr_fraction) * left);
}

double muon_momentum(const OptimizerConfig& optimizer, std::int64_t step) {
  if (step >= optimizer.muon_momentum_warmup_steps) return optimizer.muon_momentum;
  const double part = static_cast<double>(step) / static_cast<double>(optimizer.muon_momentum_warmup_steps);
  return optimizer.muon_momentum_start + part * (optimizer.muon_momentum - optimizer.muon_momentum_start);
}

}  // namespace par5
