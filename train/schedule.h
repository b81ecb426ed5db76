// Schedules: what the learning rates and the momentum are at a point of a run. Pure functions of settings, step and
// time, so that a run can be repeated from what it recorded.
#pragma once

#include <cstdint>

#include "core/config.h"

namespace par5 {

// How far the run is, 0 … 1: the larger of step / steps and elapsed / max_seconds, over the limits that are set.
// `step` counts finished optimiser steps; `elapsed` is in seconds since the first one began.
double run_progress(const TrainConfig& train, std::int64_t step, double elapsed);

// The factor on every learning rate for the step that comes after `step` finished ones: a linear rise over
// warmup_steps (the first step already moves), 1, then a linear fall over the last warmdown_fraction of the run down
// to min_lr_fraction.
double learning_rate_factor(const TrainConfig& train, std::int64_t step, double elapsed);

// Muon's momentum for the step after `step` finished ones: linear from muon_momentum_start over
// muon_momentum_warmup_steps.
double muon_momentum(const OptimizerConfig& optimizer, std::int64_t step);

}  // namespace par5
