#include "engine/parameters.h"

#include <algorithm>
#include <string>

#include "engine/thread_pool.h"

namespace par5 {
namespace {

Parameter make_parameter(const StoredTensor& tensor, bool learns) {
  Parameter parameter;
  parameter.spec = tensor.spec;
  parameter.rows = tensor.spec.shape.size() > 1 ? static_cast<std::size_t>(tensor.spec.shape[0]) : 1;
  parameter.width = static_cast<std::size_t>(tensor.spec.shape.back());
  parameter.stride = round_up(parameter.width, kBlock);
  parameter.learns = learns;
  parameter.values.assign(parameter.rows * parameter.stride, 0.0f);
  if (learns) parameter.gradient.assign(parameter.values.size(), 0.0f);
  const std::vector<float> values = tensor.values();
  for (std::size_t r = 0; r < parameter.rows; ++r)
    std::copy_n(values.data() + r * parameter.width, parameter.width, parameter.row(parameter.values, r));
  return parameter;
}

// Rows first … first + to.outputs - 1 of what is below one another in `parts`.
void store_matrix(const std::vector<Parameter*>& parts, std::size_t first, PackedMatrix& to, ThreadPool& pool) {
  std::size_t begin = 0;
  for (const Parameter* part : parts) {
    const std::size_t from = std::max(begin, first), end = std::min(begin + part->rows, first + to.outputs);
    if (part->learns && from < end)
      pool.run(end - from, [&](std::size_t i, std::size_t) {
        set_row(to, from + i - first, {part->row(from + i - begin), part->width});
      });
    begin += part->rows;
  }
}

void store_row(const Parameter* parameter, std::size_t row, AlignedVector<float>& to) {
  if (parameter && parameter->learns) std::copy_n(parameter->row(row), parameter->width, to.begin());
}

}  // namespace

Parameters::Parameters(const StoredModel& model, const Learns& learns) {
  for (const StoredTensor& tensor : model.tensors) all.push_back(make_parameter(tensor, learns(tensor.spec)));
  layers.resize(static_cast<std::size_t>(model.model.layers));
  const bool unet = model.model.backbone == Backbone::unet;
  for (std::size_t i = 0; i < layers.size(); ++i) {
    LayerParameters& layer = layers[i];
    const std::string block = (unet ? "blocks." : "transformer.h.") + std::to_string(i) + ".";
    for (const char* name :
         {"attn.c_qkv.weight", "attn.c_q.weight", "attn.c_k.weight", "attn.c_v.weight", "attn.c_attn.weight"})
      if (Parameter* part = find(block + name)) layer.attention_in.push_back(part);
    const auto either = [&](const char* first, const char* second) {
      Parameter* found = find(block + first);
      return found ? found : find(block + second);
    };
    layer.attention_out = either("attn.proj.weight", "attn.c_proj.weight");
    layer.mlp_in = either("mlp.fc.weight", unet ? "mlp.gate_up.weight" : "mlp.c_fc.weight");
    layer.mlp_out = either("mlp.proj.weight", "mlp.c_proj.weight");
    layer.attention_scale = find(block + "attn_scale");
    layer.mlp_scale = find(block + "mlp_scale");
    layer.mix = find(block + "resid_mix");
    layer.query_gain = find(block + "attn.q_gain");
    layer.attention_norm = find(block + "ln_1.weight");
    layer.mlp_norm = find(block + "ln_2.weight");
  }
  embedding = find(unet ? "tok_emb.weight" : "transformer.wte.weight");
  embedding_in = find("embed_proj.weight");
  embedding_out = find("embed_proj_rev.weight");
  positions = find("transformer.wpe.weight");
  skips = find("skip_weights");
  vocab_bias = find("vocab_bias");
  final_norm = find("transformer.ln_f.weight");
}

Parameter* Parameters::find(std::string_view name) {
  const auto found = std::find_if(all.begin(), all.end(), [&](const Parameter& p) { return p.spec.name == name; });
  return found == all.end() ? nullptr : &*found;
}

void Parameters::store(NetworkWeights& weights, ThreadPool& pool) const {
  store_matrix({embedding}, 0, weights.embedding, pool);
  if (embedding_in) store_matrix({embedding_in}, 0, weights.embedding_in, pool);
  if (embedding_out) store_matrix({embedding_out}, 0, weights.embedding_out, pool);
  if (positions) store_matrix({positions}, 0, weights.positions, pool);
  for (std::size_t i = 0; i < layers.size(); ++i) {
    const LayerParameters& layer = layers[i];
    LayerWeights& to = weights.layers[i];
    store_matrix(layer.attention_in, 0, to.query, pool);
    store_matrix(layer.attention_in, to.query.outputs, to.key_value, pool);
    store_matrix({layer.attention_out}, 0, to.attention_out, pool);
    store_matrix({layer.mlp_in}, 0, to.mlp_in, pool);
    store_matrix({layer.mlp_out}, 0, to.mlp_out, pool);
    store_row(layer.attention_scale, 0, to.attention_scale);
    store_row(layer.mlp_scale, 0, to.mlp_scale);
    store_row(layer.mix, 0, to.mix_x);
    store_row(layer.mix, 1, to.mix_x0);
    store_row(layer.query_gain, 0, to.query_gain);
    store_row(layer.attention_norm, 0, to.attention_norm);
    store_row(layer.mlp_norm, 0, to.mlp_norm);
  }
  for (std::size_t i = 0; i < weights.skips.size(); ++i) store_row(skips, i, weights.skips[i]);
  store_row(vocab_bias, 0, weights.vocab_bias);
  store_row(final_norm, 0, weights.final_norm);
}

}  // namespace par5
