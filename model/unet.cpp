// The U-Net backbone's forward pass, in the order of the published programs.
#include <vector>

#include "model/network.h"

namespace par5 {

torch::Tensor Network::unet_attention(const std::string& block, const torch::Tensor& normed,
                                      const AttentionShape& shape) {
  const torch::Tensor matrix = model_.fused_qkv
                                   ? weight(block + "attn.c_qkv.weight")
                                   : at::cat({weight(block + "attn.c_q.weight"), weight(block + "attn.c_k.weight"),
                                              weight(block + "attn.c_v.weight")});
  const torch::Tensor qkv = linear(normed, matrix, false);
  const torch::Tensor mixed = gained_attention(qkv, weight(block + "attn.q_gain"), rope(shape.length), shape, kernels_);
  return linear(mixed, weight(block + "attn.proj.weight"), true);
}

torch::Tensor Network::unet_mlp(const std::string& block, const torch::Tensor& normed) {
  const torch::Tensor hidden =
      linear(normed, weight(block + (model_.activation == Activation::swiglu ? "mlp.gate_up.weight" : "mlp.fc.weight")),
             false);
  // The activation is fused with the norm on the output projection's input.
  const bool with_norm = model_.linear_norm != LinearNorm::none;
  return at::linear(activate(hidden, model_.activation, with_norm, kernels_), weight(block + "mlp.proj.weight"));
}

torch::Tensor Network::unet_hidden(const torch::Tensor& tokens) {
  const AttentionShape shape{tokens.size(0), tokens.size(1), model_.heads, model_.kv_heads, model_.head_width()};
  torch::Tensor x = at::embedding(weight("tok_emb.weight"), tokens.flatten());
  if (model_.factored_embedding()) x = at::linear(x.to(compute_), weight("embed_proj.weight").to(compute_));
  x = normalized(x, model_.norm, wide_, kernels_);
  const torch::Tensor x0 = x;

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
    if (i > 0 && i < encoder_layers) pushed.push_back(border.end);
    const Normed middle = add_scaled(border.sum, unet_attention(block, border.normed, shape),
                                     weight(block + "attn_scale"), model_.norm, compute_, kernels_);
    x = middle.sum;
    branch = unet_mlp(block, middle.normed);
    scale = weight(block + "mlp_scale");
  }
  return add_scaled(x, branch, scale, model_.norm, compute_, kernels_).normed;
}

}  // namespace par5
