#include "pack/architecture.h"

#include <algorithm>
#include <set>

#include "core/text.h"

namespace par5 {
namespace {

constexpr const char* kConfigKey = "par5.config";

Storage embedding_storage(const ModelConfig& model) {
  switch (model.embedding_storage) {
    case EmbeddingStorage::fp8:
      return Storage::fp8;
    case EmbeddingStorage::fp16:
      return Storage::fp16;
    case EmbeddingStorage::quantized:
      return Storage::quantized;
  }
  return Storage::fp8;
}

std::vector<TensorSpec> unet_specs(const ModelConfig& model) {
  std::vector<TensorSpec> specs;
  const std::int64_t d = model.width, kv = model.kv_heads * model.head_width();
  const auto quantized = [&](std::string name, Shape shape) {
    specs.push_back({std::move(name), std::move(shape), Storage::quantized, false});
  };
  const auto calibration = [&](std::string name, Shape shape) {
    specs.push_back({std::move(name), std::move(shape), Storage::fp16, true});
  };
  const Storage embedding = embedding_storage(model);
  specs.push_back({"tok_emb.weight", {model.vocab, model.embedding_width}, embedding, false});
  if (model.factored_embedding()) {
    specs.push_back({"embed_proj.weight", {d, model.embedding_width}, embedding, false});
    specs.push_back({"embed_proj_rev.weight", {model.embedding_width, d}, embedding, false});
  }
  for (std::int64_t i = 0; i < model.layers; ++i) {
    const std::string block = "blocks." + std::to_string(i) + ".";
    if (model.fused_qkv) {
      quantized(block + "attn.c_qkv.weight", {d + 2 * kv, d});
    } else {
      quantized(block + "attn.c_q.weight", {d, d});
      quantized(block + "attn.c_k.weight", {kv, d});
      quantized(block + "attn.c_v.weight", {kv, d});
    }
    quantized(block + "attn.proj.weight", {d, d});
    calibration(block + "attn.q_gain", {model.heads});
    if (model.activation == Activation::swiglu)
      quantized(block + "mlp.gate_up.weight", {2 * model.mlp_width, d});
    else
      quantized(block + "mlp.fc.weight", {model.mlp_width, d});
    quantized(block + "mlp.proj.weight", {d, model.mlp_width});
    calibration(block + "attn_scale", {d});
    calibration(block + "mlp_scale", {d});
    calibration(block + "resid_mix", {2, d});
  }
  if (model.layers >= 2) calibration("skip_weights", {model.layers / 2, d});
  if (model.vocab_bias) calibration("vocab_bias", {model.vocab});
  return specs;
}

std::vector<TensorSpec> gpt2_specs(const ModelConfig& model) {
  std::vector<TensorSpec> specs;
  const std::int64_t d = model.width;
  const auto quantized = [&](std::string name, Shape shape) {
    specs.push_back({std::move(name), std::move(shape), Storage::quantized, false});
  };
  const auto gain = [&](std::string name) { specs.push_back({std::move(name), {d}, Storage::fp16, false}); };
  specs.push_back({"transformer.wte.weight", {model.vocab, d}, embedding_storage(model), false});
  specs.push_back({"transformer.wpe.weight", {model.context, d}, Storage::fp16, false});
  for (std::int64_t i = 0; i < model.layers; ++i) {
    const std::string block = "transformer.h." + std::to_string(i) + ".";
    gain(block + "ln_1.weight");
    quantized(block + "attn.c_attn.weight", {3 * d, d});
    quantized(block + "attn.c_proj.weight", {d, d});
    gain(block + "ln_2.weight");
    quantized(block + "mlp.c_fc.weight", {model.mlp_width, d});
    quantized(block + "mlp.c_proj.weight", {d, model.mlp_width});
  }
  gain("transformer.ln_f.weight");
  return specs;
}

bool all_ones(const TensorView& tensor) {
  const auto values = to_floats(tensor);
  return values && std::all_of(values->begin(), values->end(), [](float v) { return v == 1.0f; });
}

// Published checkpoints carry these although they do nothing.
bool carries_nothing(const TensorView& tensor) {
  return tensor.name == "lm_head.weight" || (tensor.name.ends_with(".scale_correction") && all_ones(tensor));
}

}  // namespace

std::vector<TensorSpec> tensor_specs(const ModelConfig& model) {
  return model.backbone == Backbone::unet ? unet_specs(model) : gpt2_specs(model);
}

ParameterCounts count_parameters(const ModelConfig& model) {
  ParameterCounts counts;
  for (const TensorSpec& spec : tensor_specs(model)) {
    const std::int64_t count = element_count(spec.shape);
    if (spec.storage == Storage::quantized)
      counts.quantized += count;
    else if (spec.calibration)
      counts.calibration += count;
    else if (spec.shape.size() == 2)
      counts.embedding += count;
    else
      counts.other += count;
  }
  return counts;
}

std::int64_t scale_count(const Shape& shape, const QuantizerConfig& quantizer) {
  switch (quantizer.granularity) {
    case Granularity::group:
      return shape[0] * (shape[1] / quantizer.group);
    case Granularity::row:
      return shape[0];
    case Granularity::tensor:
      return 1;
  }
  return 0;
}

std::vector<TensorPart> tensor_parts(const TensorSpec& spec, const ModelConfig& model) {
  const bool fused = spec.name.ends_with(".attn.c_qkv.weight") || spec.name.ends_with(".attn.c_attn.weight");
  if (!fused) return {{spec.name, 0, spec.shape.empty() ? 1 : spec.shape[0]}};
  const std::int64_t kv = model.kv_heads * model.head_width();
  return {{spec.name + ":q", 0, model.width},
          {spec.name + ":k", model.width, kv},
          {spec.name + ":v", model.width + kv, kv}};
}

std::string correction_name(std::string_view tensor_name) {
  constexpr std::string_view kWeight = ".weight";
  if (tensor_name.ends_with(kWeight)) tensor_name.remove_suffix(kWeight.size());
  return std::string(tensor_name) + ".scale_correction";
}

Result<MatchedTensors> match_tensors(const SafetensorsFile& file, const ModelConfig& model, const std::string& path) {
  MatchedTensors matched;
  std::set<std::string> known;
  for (TensorSpec& spec : tensor_specs(model)) {
    const TensorView* tensor = file.find(spec.name);
    if (!tensor)
      return bad_data("'" + path + "' lacks the tensor '" + spec.name + "' that the configuration needs", path,
                      std::nullopt, spec.name);
    if (tensor->shape != spec.shape)
      return bad_data("tensor '" + spec.name + "' in '" + path + "' has the shape " + to_string(tensor->shape) +
                          " where the configuration needs " + to_string(spec.shape),
                      path, std::nullopt, spec.name);
    known.insert(spec.name);
    matched.tensors.push_back(*tensor);
    const TensorView* correction = spec.storage == Storage::quantized ? file.find(correction_name(spec.name)) : nullptr;
    if (correction && all_ones(*correction)) correction = nullptr;
    if (correction) known.insert(correction->name);
    matched.corrections.push_back(correction ? std::optional<TensorView>(*correction) : std::nullopt);
    matched.specs.push_back(std::move(spec));
  }
  for (const TensorView& tensor : file.tensors()) {
    if (known.count(tensor.name)) continue;
    if (!carries_nothing(tensor))
      return bad_data("'" + path + "' holds the tensor '" + tensor.name + "', which the configuration does not know",
                      path, std::nullopt, tensor.name);
    matched.dropped.push_back(tensor.name);
  }
  return matched;
}

Result<LoadedConfig> checkpoint_config(const SafetensorsFile& file, const std::string& path,
                                       const std::string& config_path) {
  if (file.metadata().count(kDequantizedKey) != 0)
    return bad_data(
        "'" + path + "' holds the unpacked weights of an artifact, not a checkpoint; use the artifact itself", path,
        std::nullopt, kDequantizedKey);
  LoadedConfig config;
  const auto entry = file.metadata().find(kConfigKey);
  if (!config_path.empty())
    P5_OK(config.apply_file(config_path));
  else if (entry != file.metadata().end())
    P5_OK(config.apply_toml(entry->second, path));
  else
    return usage_error("'" + path + "' does not say its architecture; name it with --config FILE", "--config");
  P5_OK(check_model(config.values().model, config.values().quantizer));
  return config;
}

std::map<std::string, std::string> checkpoint_metadata(const LoadedConfig& config) {
  return {{kConfigKey, config.to_toml(false, {"model", "quantizer"})}};
}

}  // namespace par5
