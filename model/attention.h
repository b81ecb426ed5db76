// Causal self-attention.
#pragma once

#include "model/operations.h"
#include "model/rope.h"

namespace par5 {

struct AttentionShape {
  std::int64_t batch = 0;
  std::int64_t length = 0;
  std::int64_t heads = 0;
  std::int64_t kv_heads = 0;
  std::int64_t head_width = 0;
};

// The U-Net's: queries and keys are RMS-normed per head and rotated, queries multiplied by their head's gain; query
// head h reads key/value head floor(h · kv_heads / heads). qkv [batch · length, (heads + 2 · kv_heads) · head_width]
// in the compute type, gain [heads]; Gives [batch · length, heads ·
// head_width].
torch::Tensor gained_attention(const torch::Tensor& qkv, const torch::Tensor& gain, const RopeTable& rope,
                               const AttentionShape& shape, Kernels kernels);

// The same without gradients for the queries of positions [first, length) alone: q [batch · (length - first), heads ·
// head_width], kv [batch · length, 2 · kv_heads · head_width]. Gives [batch · (length - first), heads · head_width].
torch::Tensor gained_tail_attention(const torch::Tensor& q, const torch::Tensor& kv, const torch::Tensor& gain,
                                    const RopeTable& rope, const AttentionShape& shape, std::int64_t first,
                                    Kernels kernels);

// Rows [batch · length, width] of positions [first, length): [batch · (length - first), width], contiguous.
torch::Tensor tail_rows(const torch::Tensor& rows, const AttentionShape& shape, std::int64_t first);

// GPT-2's: no norm, no rotation, one key/value head per query head. Dropout acts on the attention weights.
torch::Tensor plain_attention(const torch::Tensor& qkv, const AttentionShape& shape, double dropout, Kernels kernels);

}  // namespace par5
