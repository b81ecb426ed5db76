#include "train/schedule.h"

#include <algorithm>

namespace par5 {

double run_progress(const TrainConfig& train, std::int64_t step, double elapsed) {
  double progress = 0;
  if (train.steps > 0) progress = static_cast<double>(step) / static_cast<double>(train.steps);
  if (train.max_seconds > 0) progress = std::max(progress, elapsed / train.max_seconds);
  return std::clamp(progress, 0.0, 1.0);
}

double learning_rate_factor(const TrainConfig& train, std::int64_t step, double elapsed) {
  const double rise = train.warmup_steps > 0
                          ? std::min(1.0, static_cast<double>(step + 1) / static_cast<double>(train.warmup_steps))
                          : 1.0;
  if (train.warmdown_fraction <= 0) return rise;
  const double left = std::min(1.0, (1.0 - run_progress(train, step, elapsed)) / train.warmdown_fraction);
  return rise * (train.min_lr_fraction + (1.0 - train.min_lr_fraction) * left);
}

double muon_momentum(const OptimizerConfig& optimizer, std::int64_t step) {
  if (step >= optimizer.muon_momentum_warmup_steps) return optimizer.muon_momentum;
  const double part = static_cast<double>(step) / static_cast<double>(optimizer.muon_momentum_warmup_steps);
  return optimizer.muon_momentum_start + part * (optimizer.muon_momentum - optimizer.muon_momentum_start);
}

}  // namespace par5
