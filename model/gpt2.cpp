// The GPT-2 backbone's forward pass: pre-norm blocks without biases, learned positions, dropout in training.
#include "model/network.h"

namespace par5 {

torch::Tensor Network::gpt2_hidden(const torch::Tensor& tokens, const ScoringShape& scoring) {
  const AttentionShape shape{tokens.size(0), tokens.size(1), model_.heads, model_.heads, model_.head_width()};
  const double attention_dropout = training_ ? model_.dropout : 0.0;
  const auto dropped = [&](const torch::Tensor& x) {
    return attention_dropout > 0 ? at::dropout(x, model_.dropout, true) : x;
  };
  const auto norm = [&](const torch::Tensor& x, const std::string& name) {
    const torch::Tensor& gain = weight(name);
    if (model_.norm == Norm::layer) return layer_norm(x, gain, compute_);
    return (rms_norm(x, wide_, kernels_) * gain).to(compute_);
  };

  const torch::Tensor positions = weight("transformer.wpe.weight").narrow(0, 0, shape.length);
  torch::Tensor x = dropped(at::embedding(weight("transformer.wte.weight"), tokens) + positions).flatten(0, 1);
  for (std::int64_t i = 0; i < model_.layers; ++i) {
    const std::string block = "transformer.h." + std::to_string(i) + ".";
    const torch::Tensor qkv = linear(norm(x, block + "ln_1.weight"), weight(block + "attn.c_attn.weight"), false);
    const torch::Tensor mixed = plain_attention(qkv, shape, attention_dropout, kernels_);
    x = x + dropped(linear(mixed, weight(block + "attn.c_proj.weight"), true)).to(wide_);
    const torch::Tensor hidden = linear(norm(x, block + "ln_2.weight"), weight(block + "mlp.c_fc.weight"), false);
    const torch::Tensor active = activate(hidden, model_.activation, model_.linear_norm != LinearNorm::none, kernels_);
    x = x + dropped(quantized_product(active, weight(block + "mlp.c_proj.weight"))).to(wide_);
  }
  if (scoring.first > 0) x = tail_rows(x, shape, scoring.first);
  return norm(x, "transformer.ln_f.weight");
}

}  // namespace par5
