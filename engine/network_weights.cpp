#include "engine/network_weights.h"

#include <algorithm>
#include <string>

#include "core/text.h"

namespace par5 {
namespace {

tl::unexpected<Error> misfit(const std::string& name, const std::string& what) {
  return bad_data("tensor '" + name + "' " + what, {}, std::nullopt, name);
}

// Sizes of a stored tensor's parts against its shape.
Status check_sizes(const StoredTensor& tensor, const QuantizerConfig& quantizer) {
  const auto count = static_cast<std::size_t>(element_count(tensor.spec.shape));
  if (const auto* quantized = std::get_if<QuantizedTensor>(&tensor.data)) {
    const bool same = quantized->quantizer.grid == quantizer.grid &&
                      quantized->quantizer.granularity == quantizer.granularity &&
                      quantized->quantizer.group == quantizer.group;
    if (!same) return misfit(tensor.spec.name, "is quantised in another way than its model");
    if (quantized->shape != tensor.spec.shape || quantized->codes.size() != count ||
        quantized->scales.size() != static_cast<std::size_t>(scale_count(tensor.spec.shape, quantizer)))
      return misfit(tensor.spec.name, "has not as many codes and scales as its shape needs");
    return {};
  }
  const auto* fp8 = std::get_if<Fp8Tensor>(&tensor.data);
  const std::size_t held = fp8 ? fp8->codes.size() : std::get<Fp16Tensor>(tensor.data).codes.size();
  if (held != count) return misfit(tensor.spec.name, "has not as many values as its shape needs");
  return {};
}

Status check_stored(const StoredModel& stored) {
  P5_OK(check_model(stored.model, stored.quantizer));
  const std::vector<TensorSpec> specs = tensor_specs(stored.model);
  if (specs.size() != stored.tensors.size())
    return bad_data("the model has " + std::to_string(stored.tensors.size()) +
                    " tensors where its configuration needs " + std::to_string(specs.size()));
  for (std::size_t i = 0; i < specs.size(); ++i) {
    const StoredTensor& tensor = stored.tensors[i];
    if (tensor.spec.name != specs[i].name || tensor.spec.shape != specs[i].shape)
      return misfit(tensor.spec.name,
                    "stands where the configuration needs '" + specs[i].name + "' " + to_string(specs[i].shape));
    if (tensor.data.index() != static_cast<std::size_t>(specs[i].storage))
      return misfit(tensor.spec.name, "is not stored as the configuration says");
    P5_OK(check_sizes(tensor, stored.quantizer));
  }
  return {};
}

class Loader {
 public:
  Loader(const StoredModel& stored, Packing layers, Packing embedding)
      : stored_(stored), model_(stored.model), layers_(layers), embedding_(embedding) {}

  Result<NetworkWeights> load() {
    NetworkWeights weights;
    weights.model = model_;
    weights.layers.resize(static_cast<std::size_t>(model_.layers));
    if (model_.backbone == Backbone::unet)
      P5_OK(load_unet(weights));
    else
      P5_OK(load_gpt2(weights));
    return weights;
  }

 private:
  Status matrix(PackedMatrix& out, const std::vector<MatrixRows>& parts) {
    P5_TRY(out, pack_matrix(parts, layers_));
    return {};
  }
  Status embedding(PackedMatrix& out, const std::string& name) {
    const MatrixRows rows = whole(name);
    P5_TRY(out, pack_matrix({&rows, 1}, embedding_));
    return {};
  }
  MatrixRows whole(const std::string& name) const {
    const StoredTensor* tensor = stored_.find(name);
    return {tensor, 0, tensor->spec.shape[0]};
  }
  // Values of row `row` of a vector or matrix tensor, padded with zeros to whole panels.
  Status row(AlignedVector<float>& out, const std::string& name, std::size_t row = 0) {
    const StoredTensor* tensor = stored_.find(name);
    const std::vector<float> values = tensor->values();
    const auto width = static_cast<std::size_t>(tensor->spec.shape.back());
    const auto first = values.begin() + static_cast<std::ptrdiff_t>(row * width);
    if (!std::all_of(first, first + static_cast<std::ptrdiff_t>(width), [](float v) { return v - v == 0.0f; }))
      return misfit(name, "holds a value that is not finite");
    out.assign(round_up(width, kPanel), 0.0f);
    std::copy_n(first, width, out.begin());
    return {};
  }
  Status attention_inputs(LayerWeights& layer, const std::string& fused) {
    const std::int64_t d = model_.width, kv = model_.kv_heads * model_.head_width();
    const StoredTensor* tensor = stored_.find(fused);
    P5_OK(matrix(layer.query, {{tensor, 0, d}}));
    return matrix(layer.key_value, {{tensor, d, 2 * kv}});
  }

  Status load_unet(NetworkWeights& weights) {
    P5_OK(embedding(weights.embedding, "tok_emb.weight"));
    if (model_.factored_embedding()) {
      P5_OK(embedding(weights.embedding_in, "embed_proj.weight"));
      P5_OK(embedding(weights.embedding_out, "embed_proj_rev.weight"));
    }
    for (std::size_t i = 0; i < weights.layers.size(); ++i) {
      LayerWeights& layer = weights.layers[i];
      const std::string block = "blocks." + std::to_string(i) + ".";
      if (model_.fused_qkv) {
        P5_OK(attention_inputs(layer, block + "attn.c_qkv.weight"));
      } else {
        P5_OK(matrix(layer.query, {whole(block + "attn.c_q.weight")}));
        P5_OK(matrix(layer.key_value, {whole(block + "attn.c_k.weight"), whole(block + "attn.c_v.weight")}));
      }
      P5_OK(matrix(layer.attention_out, {whole(block + "attn.proj.weight")}));
      const bool gated = model_.activation == Activation::swiglu;
      P5_OK(matrix(layer.mlp_in, {whole(block + (gated ? "mlp.gate_up.weight" : "mlp.fc.weight"))}));
      P5_OK(matrix(layer.mlp_out, {whole(block + "mlp.proj.weight")}));
      P5_OK(row(layer.query_gain, block + "attn.q_gain"));
      P5_OK(row(layer.attention_scale, block + "attn_scale"));
      P5_OK(row(layer.mlp_scale, block + "mlp_scale"));
      P5_OK(row(layer.mix_x, block + "resid_mix", 0));
      P5_OK(row(layer.mix_x0, block + "resid_mix", 1));
    }
    weights.skips.resize(weights.layers.size() / 2);
    for (std::size_t i = 0; i < weights.skips.size(); ++i) P5_OK(row(weights.skips[i], "skip_weights", i));
    if (model_.vocab_bias) P5_OK(row(weights.vocab_bias, "vocab_bias"));
    return {};
  }

  Status load_gpt2(NetworkWeights& weights) {
    P5_OK(embedding(weights.embedding, "transformer.wte.weight"));
    P5_OK(embedding(weights.positions, "transformer.wpe.weight"));
    for (std::size_t i = 0; i < weights.layers.size(); ++i) {
      LayerWeights& layer = weights.layers[i];
      const std::string block = "transformer.h." + std::to_string(i) + ".";
      P5_OK(row(layer.attention_norm, block + "ln_1.weight"));
      P5_OK(attention_inputs(layer, block + "attn.c_attn.weight"));
      P5_OK(matrix(layer.attention_out, {whole(block + "attn.c_proj.weight")}));
      P5_OK(row(layer.mlp_norm, block + "ln_2.weight"));
      P5_OK(matrix(layer.mlp_in, {whole(block + "mlp.c_fc.weight")}));
      P5_OK(matrix(layer.mlp_out, {whole(block + "mlp.c_proj.weight")}));
    }
    return row(weights.final_norm, "transformer.ln_f.weight");
  }

  const StoredModel& stored_;
  const ModelConfig& model_;
  Packing layers_, embedding_;
};

}  // namespace

std::uint64_t NetworkWeights::quantized_bytes() const {
  std::uint64_t total = 0;
  const auto add = [&total](const PackedMatrix& matrix) {
    if (matrix.quantized()) total += matrix.bytes();
  };
  add(embedding);
  for (const LayerWeights& layer : layers)
    for (const PackedMatrix* matrix :
         {&layer.query, &layer.key_value, &layer.attention_out, &layer.mlp_in, &layer.mlp_out})
      add(*matrix);
  return total;
}

std::uint64_t NetworkWeights::bytes() const {
  std::uint64_t total = quantized_bytes();
  for (const PackedMatrix* matrix : {&embedding, &embedding_in, &embedding_out, &positions})
    if (!matrix->quantized()) total += matrix->bytes();
  std::uint64_t values = vocab_bias.size() + final_norm.size();
  for (const auto& skip : skips) values += skip.size();
  for (const LayerWeights& layer : layers)
    for (const AlignedVector<float>* vector : {&layer.mix_x, &layer.mix_x0, &layer.attention_scale, &layer.mlp_scale,
                                               &layer.query_gain, &layer.attention_norm, &layer.mlp_norm})
      values += vector->size();
  return total + values * sizeof(float);
}

Result<NetworkWeights> load_weights(const StoredModel& model, Packing layers, Packing embedding) {
  P5_OK(check_stored(model));
  return Loader(model, layers, embedding).load();
}

}  // namespace par5
