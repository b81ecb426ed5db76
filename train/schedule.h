// Schedules: what a step is done with at a point of a run. Pure functions of settings, step and time, so that a run can
// be repeated from what it recorded.
#pragma once

#include <cstdint>

#include "core/config.h"

namespace par5 {

// How far the run is, 0 … 1: the larger of step / steps and elapsed / max_seconds, over the limits that are set.
// `step` counts finished optimiser steps; `elapsed` is in seconds since the first one began.
double run_progress(const TrainConfig& train, std::int64_t step, double elapsed);

// The factor on every learning rate for the step that comes after `step` finished ones: a linear rise over
// warmup_steps (the first step already moves), 1, then the warm-down to min_lr_fraction, in a line or as half a cosine.
// The warm-down is the last warmdown_fraction of the run, or, with warmdown_steps, as many steps: by the clock their
// mean time so far is taken, as the published bitnet program does.
double learning_rate_factor(const TrainConfig& train, std::int64_t step, double elapsed);

// Muon's momentum for the step after `step` finished ones: linear from muon_momentum_start over
// muon_momentum_warmup_steps.
double muon_momentum(const OptimizerConfig& optimizer, std::int64_t step);

// Everything about a step that the clock can change. A run's record of these is its realised schedule.
struct Moment {
  double progress = 0;
  double rate_factor = 1;
};

// One optimiser step as it will be done.
struct StepPlan {
  Moment moment;
  double momentum = 0;
  std::int64_t batch_tokens = 0;
  std::int64_t sequence = 0;         // a divisor of train.sequence
  double full_precision = 0;         // share of the unquantised weights in the forward pass
  bool simulate_scale_bits = false;  // scales as quantizer.scale_bits stores them
  std::int64_t head_sample = 1;      // how many tokens one stands for in the loss
};
StepPlan plan_step(const Config& config, std::int64_t step, const Moment& moment);

}  // namespace par5
