// Small models of every kind for the engine's tests.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "engine/engine.h"
#include "tests/model/random_model.h"

namespace par5::testing_support {

struct NamedModel {
  std::string name;
  StoredModel model;
};

inline ModelConfig small_unet() {
  ModelConfig model;
  model.layers = 4;
  model.width = 48;
  model.heads = 4;
  model.kv_heads = 2;
  model.mlp_width = 96;
  model.vocab = 101;
  model.embedding_width = 20;
  model.context = 64;
  model.rope_max_context = 128;
  return model;
}

inline ModelConfig small_gpt2() {
  ModelConfig model;
  model.backbone = Backbone::gpt2;
  model.layers = 2;
  model.width = 40;
  model.heads = model.kv_heads = 5;
  model.mlp_width = 72;
  model.vocab = 83;
  model.embedding_width = 40;
  model.embedding_storage = EmbeddingStorage::quantized;
  model.context = 150;
  model.norm = Norm::layer;
  model.linear_norm = LinearNorm::none;
  model.activation = Activation::gelu;
  model.softcap = Softcap::none;
  model.vocab_bias = false;
  model.rope_scaling = RopeScaling::none;
  return model;
}

inline QuantizerConfig quantizer_of(Grid grid, Granularity granularity, std::int64_t group) {
  QuantizerConfig quantizer;
  quantizer.grid = grid;
  quantizer.granularity = granularity;
  quantizer.group = group;
  return quantizer;
}

// Every option of the configuration and every grid appears at least once.
inline std::vector<NamedModel> models_of_every_kind() {
  std::vector<NamedModel> models;
  const auto add = [&models](const std::string& name, const ModelConfig& model, const QuantizerConfig& quantizer) {
    models.push_back({name, random_model(model, quantizer, models.size() + 1)});
  };
  const QuantizerConfig quinary = quantizer_of(Grid::quinary, Granularity::group, 24);
  add("unet", small_unet(), quinary);
  {
    ModelConfig model = small_unet();  // shapes of the published runs: whole base-5 lines
    model.width = 192;
    model.mlp_width = 576;  // nine blocks of outputs
    model.vocab = 256;
    model.embedding_width = 96;
    add("unet group 192", model, quantizer_of(Grid::quinary, Granularity::group, 192));
  }
  {
    ModelConfig model = small_unet();
    model.layers = 3;
    model.activation = Activation::swiglu;
    model.norm = Norm::layer;
    model.linear_norm = LinearNorm::all;
    model.fused_qkv = false;
    model.softcap = Softcap::tanh;
    model.vocab_bias = false;
    add("unet layer norm swiglu tanh", model, quantizer_of(Grid::ternary, Granularity::group, 8));
  }
  {
    ModelConfig model = small_unet();
    model.layers = 5;
    model.activation = Activation::leaky_relu2;
    model.linear_norm = LinearNorm::none;
    model.softcap = Softcap::none;
    model.embedding_width = model.width;
    model.embedding_storage = EmbeddingStorage::fp16;
    model.rope_scaling = RopeScaling::none;
    add("unet fp16 embedding", model, quantizer_of(Grid::septenary, Granularity::row, 1));
  }
  {
    ModelConfig model = small_unet();
    model.layers = 1;
    model.activation = Activation::gelu;
    model.embedding_width = model.width;
    model.embedding_storage = EmbeddingStorage::quantized;
    add("unet one layer", model, quantizer_of(Grid::binary, Granularity::tensor, 1));
  }
  for (const Grid grid : {Grid::int4, Grid::int5, Grid::int6, Grid::int7, Grid::int8})
    add("unet " + std::string(grid_name(grid)), small_unet(), quantizer_of(grid, Granularity::group, 12));
  add("unet group 1", small_unet(), quantizer_of(Grid::quinary, Granularity::group, 1));
  add("unet group 3", small_unet(), quantizer_of(Grid::ternary, Granularity::group, 3));
  add("unet quinary rows", small_unet(), quantizer_of(Grid::quinary, Granularity::row, 1));
  add("gpt2", small_gpt2(), quantizer_of(Grid::quinary, Granularity::tensor, 1));
  {
    ModelConfig model = small_gpt2();
    model.norm = Norm::rms;
    model.linear_norm = LinearNorm::outputs;
    model.embedding_storage = EmbeddingStorage::fp8;
    model.activation = Activation::relu2;
    add("gpt2 rms", model, quantizer_of(Grid::ternary, Granularity::row, 1));
  }
  return models;
}

inline std::vector<std::uint16_t> token_ids(std::int64_t count, std::int64_t vocab, std::uint64_t seed) {
  const std::vector<std::int64_t> wide = random_tokens(count, vocab, seed);
  return {wide.begin(), wide.end()};
}

// The arithmetics that a model can be run in.
inline std::vector<Arithmetic> arithmetics_of(const StoredModel& model) {
  std::vector<Arithmetic> all(arithmetics().begin(), arithmetics().end());
  if (max_code(model.quantizer.grid) > 2) std::erase(all, Arithmetic::fp32_adds);
  return all;
}

inline Engine make_engine(const StoredModel& model, Arithmetic arithmetic, const std::string& kernel,
                          std::size_t threads = 1) {
  return Engine::create(model, {arithmetic, kernel, threads}).value();
}

// Logits of every token of one new window, all at once.
inline std::vector<float> all_logits(Engine& engine, std::span<const std::uint16_t> tokens,
                                     std::int64_t first_wanted = 0) {
  Windows windows = engine.make_windows(1, static_cast<std::int64_t>(tokens.size())).value();
  std::vector<float> logits;
  const WindowInput input{0, tokens, first_wanted};
  const Status status = engine.append(windows, {&input, 1}, [&](std::int64_t, std::int64_t, std::span<const float> z) {
    logits.insert(logits.end(), z.begin(), z.end());
    return Status();
  });
  if (!status) throw std::runtime_error(status.error().message);
  return logits;
}

}  // namespace par5::testing_support
