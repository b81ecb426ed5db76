// The U-Net backbone's forward pass, in the order of the published programs.
#include <vector>

#include "model/integer_mlp.h"
#include "model/network.h"

namespace par5 {
namespace {

// The distinct tokens of sequences that are each the one before moved on by `shift`: the first sequence, then the last
// `shift` tokens of every other.
torch::Tensor distinct_tokens(const torch::Tensor& tokens, std::int64_t shift) {
  const std::int64_t batch = tokens.size(0), length = tokens.size(1);
  return at::cat({tokens[0], tokens.narrow(0, 1, batch - 1).narrow(1, length - shift, shift).flatten()});
}

// Rows of distinct tokens -> rows of all tokens, [batch · length, width].
torch::Tensor spread(const torch::Tensor& rows, const AttentionShape& shape, std::int64_t shift) {
  const std::int64_t width = rows.size(1);
  return rows.as_strided({shape.batch, shape.length, width}, {shift * width, width, 1}).reshape({-1, width});
}

}  // namespace

torch::Tensor Network::unet_qkv_matrix(const std::string& block) {
  if (model_.fused_qkv) return weight(block + "attn.c_qkv.weight");
  return at::cat(
      {weight(block + "attn.c_q.weight"), weight(block + "attn.c_k.weight"), weight(block + "attn.c_v.weight")});
}

torch::Tensor Network::unet_attention(const std::string& block, const torch::Tensor& qkv, const AttentionShape& shape) {
  const torch::Tensor mixed = gained_attention(qkv, weight(block + "attn.q_gain"), rope(shape.length), shape, kernels_);
  return linear(mixed, weight(block + "attn.proj.weight"), true);
}

torch::Tensor Network::unet_tail_attention(const std::string& block, const torch::Tensor& normed,
                                           const AttentionShape& shape, std::int64_t first) {
  const torch::Tensor matrix = unet_qkv_matrix(block);
  const std::int64_t q_width = shape.heads * shape.head_width;
  const torch::Tensor q = linear(tail_rows(normed, shape, first), matrix.narrow(0, 0, q_width), false);
  const torch::Tensor kv = linear(normed, matrix.narrow(0, q_width, matrix.size(0) - q_width), false);
  const torch::Tensor mixed =
      gained_tail_attention(q, kv, weight(block + "attn.q_gain"), rope(shape.length), shape, first, kernels_);
  return linear(mixed, weight(block + "attn.proj.weight"), true);
}

torch::Tensor Network::unet_mlp(const std::string& block, const torch::Tensor& normed) {
  const torch::Tensor& up =
      weight(block + (model_.activation == Activation::swiglu ? "mlp.gate_up.weight" : "mlp.fc.weight"));
  const torch::Tensor& down = weight(block + "mlp.proj.weight");
  // The activation is fused with the norm on the output projection's input.
  const bool with_norm = model_.linear_norm != LinearNorm::none;
  const std::optional<double> slope = squared_relu_slope(model_.activation);
  if (integer_products_ && kernels_ == Kernels::automatic && slope && fits_integer_products(up) &&
      fits_integer_products(down))
    return integer_mlp(normalize_input(normed, false), up, down, {*slope, with_norm}, *integer_products_);
  return quantized_product(activate(linear(normed, up, false), model_.activation, with_norm, kernels_), down);
}

torch::Tensor Network::unet_hidden(const torch::Tensor& tokens, const ScoringShape& scoring) {
  const AttentionShape shape{tokens.size(0), tokens.size(1), model_.heads, model_.kv_heads, model_.head_width()};
  // A lone block is the last one; it is not worth a case of its own.
  const bool overlapping = scoring.shift > 0 && scoring.shift < shape.length && shape.batch > 1 && model_.layers > 1;
  torch::Tensor x =
      at::embedding(weight("tok_emb.weight"), overlapping ? distinct_tokens(tokens, scoring.shift) : tokens.flatten());
  if (model_.factored_embedding()) x = at::linear(x.to(compute_), weight("embed_proj.weight").to(compute_));
  x = normalized(x, model_.norm, wide_, kernels_);
  torch::Tensor x0 = x;

  const std::int64_t encoder_layers = model_.layers / 2, skips = model_.layers / 2;
  std::vector<torch::Tensor> pushed;
  torch::Tensor branch, scale;  // what the last block still adds to x
  for (std::int64_t i = 0; i < model_.layers; ++i) {
    const std::string block = "blocks." + std::to_string(i) + ".";
    BorderInputs inputs{x, branch, scale, x0, weight(block + "resid_mix"), {}, {}};
    const std::int64_t decoder = i - encoder_layers;
    if (decoder >= 0 && decoder < skips) {
      // The first decoder block's skip is the end of the block right before it, which the border itself gives.
      inputs.skip_weight = weight("skip_weights")[decoder];
      if (decoder > 0) {
        inputs.skip = pushed.back();
        pushed.pop_back();
      }
    }
    const Border border = cross_border(inputs, model_.norm, compute_, kernels_);
    x0 = border.x0;
    if (i > 0 && i < encoder_layers) pushed.push_back(border.end);
    torch::Tensor sum = border.sum, attended;
    if (i + 1 == model_.layers && scoring.first > 0) {
      attended = unet_tail_attention(block, border.normed, shape, scoring.first);
      sum = tail_rows(sum, shape, scoring.first);
    } else {
      torch::Tensor qkv = linear(border.normed, unet_qkv_matrix(block), false);
      if (i == 0 && overlapping) {
        x0 = spread(x0, shape, scoring.shift);
        sum = spread(sum, shape, scoring.shift);
        qkv = spread(qkv, shape, scoring.shift);
      }
      attended = unet_attention(block, qkv, shape);
    }
    const Normed middle = add_scaled(sum, attended, weight(block + "attn_scale"), model_.norm, compute_, kernels_);
    x = middle.sum;
    branch = unet_mlp(block, middle.normed);
    scale = weight(block + "mlp_scale");
  }
  return add_scaled(x, branch, scale, model_.norm, compute_, kernels_).normed;
}

}  // namespace par5
