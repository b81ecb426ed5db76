#include "model/attention.h"

#include <limits>

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
  if (kernels == Kernels::automatic && fused::supported(qkv)) return fused::gained_attention(qkv, gain, rope, shape);
  const std::int64_t kv_width = shape.kv_heads * shape.head_width;
  const auto parts = qkv.split({shape.heads * shape.head_width, kv_width, kv_width}, -1);
  const auto wide = qkv.scalar_type() == torch::kBFloat16 ? torch::kFloat32 : qkv.scalar_type();
  const auto prepare = [&](const torch::Tensor& part, std::int64_t heads) {
    const torch::Tensor normed = rms_norm(split_heads(part, shape, heads), wide, kernels);
    return rotated(normed, rope);
  };
  const torch::Tensor q = (prepare(parts[0], shape.heads) * gain.unsqueeze(-1)).to(qkv.scalar_type());
  const torch::Tensor k = prepare(parts[1], shape.kv_heads).to(qkv.scalar_type());
  return attend(q, k, split_heads(parts[2], shape, shape.kv_heads), shape, 0.0);
}

torch::Tensor gained_tail_attention(const torch::Tensor& q, const torch::Tensor& kv, const torch::Tensor& gain,
                                    const RopeTable& rope, const AttentionShape& shape, std::int64_t first,
                                    Kernels kernels) {
  const std::int64_t tail = shape.length - first;
  const RopeTable tail_rope{rope.cosine.narrow(0, first, tail), rope.sine.narrow(0, first, tail)};
  const AttentionShape tail_shape{shape.batch, tail, shape.heads, 0, shape.head_width};
  const AttentionShape key_shape{shape.batch, shape.length, 0, shape.kv_heads, shape.head_width};
  const torch::Tensor values = split_heads(kv, key_shape, 2 * shape.kv_heads).narrow(2, shape.kv_heads, shape.kv_heads);
  torch::Tensor queries, keys;
  if (kernels == Kernels::automatic && fused::supported(kv)) {
    queries = split_heads(fused::rotated_heads(q, gain, tail_rope, tail_shape), tail_shape, shape.heads);
    keys = split_heads(fused::rotated_heads(kv, {}, rope, key_shape), key_shape, shape.kv_heads);
  } else {
    const auto wide = q.scalar_type() == torch::kBFloat16 ? torch::kFloat32 : q.scalar_type();
    const auto prepare = [&](const torch::Tensor& heads, const RopeTable& table) {
      return rotated(rms_norm(heads, wide, kernels), table);
    };
    queries = (prepare(split_heads(q, tail_shape, shape.heads), tail_rope) * gain.unsqueeze(-1)).to(q.scalar_type());
    keys =
        prepare(split_heads(kv, key_shape, 2 * shape.kv_heads).narrow(2, 0, shape.kv_heads), rope).to(kv.scalar_type());
  }
  // Position first + i sees the keys up to itself.
  const torch::Tensor mask =
      torch::full({tail, shape.length}, -std::numeric_limits<double>::infinity(), queries.options()).triu_(first + 1);
  const torch::Tensor mixed =
      at::scaled_dot_product_attention(queries.transpose(1, 2), keys.transpose(1, 2), values.transpose(1, 2), mask, 0.0,
                                       /*is_causal=*/false, std::nullopt, /*enable_gqa=*/shape.heads != shape.kv_heads);
  return mixed.transpose(1, 2).reshape({shape.batch * tail, shape.heads * shape.head_width});
}

torch::Tensor tail_rows(const torch::Tensor& rows, const AttentionShape& shape, std::int64_t first) {
  const std::int64_t width = rows.size(-1);
  return rows.view({shape.batch, shape.length, width}).narrow(1, first, shape.length - first).reshape({-1, width});
}

torch::Tensor plain_attention(const torch::Tensor& qkv, const AttentionShape& shape, double dropout, Kernels kernels) {
  if (kernels == Kernels::automatic && dropout == 0 && fused::supported(qkv)) return fused::plain_attention(qkv, shape);
  const auto parts = qkv.chunk(3, -1);
  return attend(split_heads(parts[0], shape, shape.heads), split_heads(parts[1], shape, shape.heads),
                split_heads(parts[2], shape, shape.heads), shape, dropout);
}

}  // namespace par5
