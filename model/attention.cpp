#include "model/attention.h"

#include "model/fused.h"

namespace par5 {
namespace {

// [rows, heads · width] -> [batch, heads, length, width]
torch::Tensor split_heads(const torch::Tensor& x, const AttentionShape& shape, std::int64_t heads) {
  return x.view({shape.batch, shape.length, heads, shape.head_width});
}

torch::Tensor attend(const torch::Tensor& q, const torch::Tensor& k, const torch::Tensor& v,
                     const AttentionShape& shape, double dropout) {
  const torch::Tensor mixed = at::scaled_dot_product_attention(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2),
                                                               std::nullopt, dropout, /*is_causal=*/true, std::nullopt,
                                                               /*enable_gqa=*/shape.heads != shape.kv_heads);
  return mixed.transpose(1, 2).reshape({shape.batch * shape.length, shape.heads * shape.head_width});
}

}  // namespace

torch::Tensor gained_attention(const torch::Tensor& qkv, const torch::Tensor& gain, const RopeTable& rope,
                               const AttentionShape& shape, Kernels kernels) {
  const std::int64_t kv_width = shape.kv_heads * shape.head_width;
  const auto parts = qkv.split({shape.heads * shape.head_width, kv_width, kv_width}, -1);
  const auto wide = qkv.scalar_type() == torch::kBFloat16 ? torch::kFloat32 : qkv.scalar_type();
  const auto prepare = [&](const torch::Tensor& part, std::int64_t heads) {
    const torch::Tensor normed = rms_norm(split_heads(part, shape, heads), wide, kernels);
    return rope.cosine.defined() ? rotated(normed, rope) : normed;
  };
  const torch::Tensor q = (prepare(parts[0], shape.heads) * gain.unsqueeze(-1)).to(qkv.scalar_type());
  const torch::Tensor k = prepare(parts[1], shape.kv_heads).to(qkv.scalar_type());
  return attend(q, k, split_heads(parts[2], shape, shape.kv_heads), shape, 0.0);
}

torch::Tensor plain_attention(const torch::Tensor& qkv, const AttentionShape& shape, double dropout) {
  const auto parts = qkv.chunk(3, -1);
  return attend(split_heads(parts[0], shape, shape.heads), split_heads(parts[1], shape, shape.heads),
                split_heads(parts[2], shape, shape.heads), shape, dropout);
}

}  // namespace par5
