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

namespace {

// From batch_start_tokens to batch_tokens in a line over the first batch_ramp_fraction, in whole micro-batches.
std::int64_t batch_tokens_at(const TrainConfig& train, double progress) {
  if (train.batch_start_tokens == 0 || progress >= train.batch_ramp_fraction) return train.batch_tokens;
  const double grown =
      static_cast<double>(train.batch_tokens - train.batch_start_tokens) * progress / train.batch_ramp_fraction;
  const auto micro_batches = static_cast<std::int64_t>(grown) / train.micro_batch_tokens;
  return train.batch_start_tokens + micro_batches * train.micro_batch_tokens;
}

// sequence_start, doubled in equal parts of the first sequence_ramp_fraction until it is train.sequence.
std::int64_t sequence_at(const TrainConfig& train, double progress) {
  if (train.sequence_start == 0 || progress >= train.sequence_ramp_fraction) return train.sequence;
  std::int64_t doublings = 0;
  while (train.sequence_start << doublings < train.sequence) ++doublings;
  const auto done = static_cast<std::int64_t>(progress / train.sequence_ramp_fraction * static_cast<double>(doublings));
  return train.sequence_start << std::min(done, doublings);
}

}  // namespace

StepPlan plan_step(const Config& config, std::int64_t step, const Moment& moment) {
  const TrainConfig& train = config.train;
  StepPlan plan;
  plan.moment = moment;
  plan.momentum = muon_momentum(config.optimizer, step);
  plan.batch_tokens = batch_tokens_at(train, moment.progress);
  plan.sequence = sequence_at(train, moment.progress);
  if (!train.quantize)
    plan.full_precision = 1;
  else if (moment.progress < train.soft_quantization_fraction)
    plan.full_precision = 1 - moment.progress / train.soft_quantization_fraction;
  plan.simulate_scale_bits = config.quantizer.scale_bits < 16 && train.scale_qat_fraction > 0 &&
                             moment.progress >= 1 - train.scale_qat_fraction;
  if (moment.progress < train.head_sample_fraction) plan.head_sample = train.head_sample;
  return plan;
}

}  // namespace par5
