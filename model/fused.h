// The fused CPU forms of model/operations.h and attention: differentiable functions over the kernels of
// model/kernels.h.
#pragma once

#include "model/attention.h"
#include "model/operations.h"

namespace par5::fused {

// Whether the fused forms take this tensor: on the CPU, float32 or bfloat16.
bool supported(const torch::Tensor& x);

torch::Tensor rms_norm(const torch::Tensor& x, torch::ScalarType out);
Normed add_scaled(const torch::Tensor& x, const torch::Tensor& branch, const torch::Tensor& scale,
                  torch::ScalarType out);
Border cross_border(const BorderInputs& inputs, torch::ScalarType out);
// f(hidden)² with f(h) = h > 0 ? h : slope · h.
torch::Tensor squared_relu(const torch::Tensor& hidden, double slope, bool with_norm);
// Query heads, then key heads of `rows` [batch · length, (heads + 2 · kv_heads) · head_width] as attention takes them:
// normed, rotated, queries times their gain; [batch · length, (heads + kv_heads) · head_width]. Without gradients.
torch::Tensor rotated_heads(const torch::Tensor& rows, const torch::Tensor& gain, const RopeTable& rope,
                            const AttentionShape& shape);
torch::Tensor gained_attention(const torch::Tensor& qkv, const torch::Tensor& gain, const RopeTable& rope,
                               const AttentionShape& shape);
torch::Tensor plain_attention(const torch::Tensor& qkv, const AttentionShape& shape);

}  // namespace par5::fused
