// What a mode that learns changes, and how: the same words for LibTorch's learner and the exact one.
#pragma once

#include <string>

#include "core/config.h"
#include "eval/score.h"
#include "pack/architecture.h"

namespace par5 {

// Which values learn: the calibration tensors alone; all weights; low-rank factors beside the linear layers' matrices,
// W = stored + alpha / rank · up · down, with up = 0 and down uniform in ±1 / √inputs at first; or the output's bias
// and sharpness.
enum class Adaptation { calibration, all, lora, output };
Adaptation adaptation_of(ModeKind kind);

// What a tensor's rate is times the step's; 0 where it does not learn.
double rate_factor(const TensorSpec& spec, Adaptation adaptation, const TttConfig& ttt, const LoraConfig& lora);

// For the ledger: "sgd momentum 0.9 clip 1 z_loss 0.0001". Everything that a step depends on besides the windows and
// rates that the ledger records.
std::string learner_description(Adaptation adaptation, const TttConfig& ttt, const LoraConfig& lora, double z_loss);

}  // namespace par5
