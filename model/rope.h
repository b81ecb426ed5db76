// Rotary position angles.
#pragma once

#include "core/config.h"
#include "model/tensor.h"

namespace par5 {

struct RopeTable {
  torch::Tensor cosine;  // [length, head_width / 2], float32
  torch::Tensor sine;
};

// Angles of positions 0 … length - 1 as the configuration defines them (presets.md): with RopeAngles::float32 computed
// in double and rounded once; with bfloat16 frequencies, positions, angles, cosines and sines are each bfloat16 values.
RopeTable rope_table(const ModelConfig& model, std::int64_t length, torch::Device device);

// Rotates the halves (a, b) of every head: (a·cos + b·sin, -a·sin + b·cos). x [batch, length, heads, head_width].
torch::Tensor rotated(const torch::Tensor& x, const RopeTable& table);

}  // namespace par5
