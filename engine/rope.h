// Internal to engine/: rotary position angles (docs/arithmetic.md, "RoPE").
#pragma once

#include "core/config.h"
#include "engine/aligned.h"

namespace par5 {

struct RotaryTable {
  std::size_t half = 0;                 // angles of a position
  AlignedVector<float> cosines, sines;  // [positions][half]
};

// For positions 0 … positions - 1, computed in binary64 and rounded once; with RopeAngles::bfloat16 frequencies,
// positions, angles, cosines and sines are each rounded to bfloat16.
RotaryTable make_rotary_table(const ModelConfig& model, std::size_t positions);

}  // namespace par5
