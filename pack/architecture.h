// The tensors that a configuration implies: names, shapes and stored precisions, in the order in which files hold
// them. Names follow the published programs (U-Net runs) and GPT-2's, so that existing checkpoints load.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/config.h"
#include "core/safetensors.h"
#include "core/tensor.h"

namespace par5 {

// How a tensor is stored, in training's forward pass and in the artifact alike.
enum class Storage { quantized, fp8, fp16 };

struct TensorSpec {
  std::string name;
  Shape shape;  // matrices are [out, in]
  Storage storage = Storage::quantized;
  // One of the tensors that scalars-only TTT adapts: scales, mixes, gains, skip weights, vocabulary bias.
  bool calibration = false;
};

// All tensors of the model, in a fixed order. The configuration must have passed check_model.
std::vector<TensorSpec> tensor_specs(const ModelConfig& model);

struct ParameterCounts {
  std::int64_t quantized = 0;
  std::int64_t embedding = 0;    // fp8 or fp16: token embedding, projections, positions
  std::int64_t calibration = 0;  // values that scalars-only TTT adapts
  std::int64_t other = 0;        // gains of LayerNorms
  std::int64_t total() const { return quantized + embedding + calibration + other; }
};
ParameterCounts count_parameters(const ModelConfig& model);

// Number of scales that a quantised tensor of this shape has, row-major [out, groups of the row].
std::int64_t scale_count(const Shape& shape, const QuantizerConfig& quantizer);

// A matrix that is stored as one stream: rows first_row … first_row + rows - 1 of a tensor. Fused Q, K and V have
// different statistics and are three parts ("….c_qkv.weight:q"); every other tensor is one part with the tensor's name.
struct TensorPart {
  std::string name;
  std::int64_t first_row = 0;
  std::int64_t rows = 0;
};
std::vector<TensorPart> tensor_parts(const TensorSpec& spec, const ModelConfig& model);

// Name of the learned factors on a quantised tensor's scales, as the published programs have it:
// "….c_qkv.weight" -> "….c_qkv.scale_correction".
std::string correction_name(std::string_view tensor_name);

// A checkpoint's tensors matched to the architecture, in tensor_specs order. Foreign extras that carry nothing
// (`*.scale_correction` of ones, `lm_head.weight` beside a tied embedding) are dropped, each named in `dropped`; any
// other unknown, missing or misshapen tensor is bad_data.
struct MatchedTensors {
  std::vector<TensorSpec> specs;
  std::vector<TensorView> tensors;
  std::vector<std::optional<TensorView>> corrections;  // per tensor: factors on its scales, one each, where not all 1
  std::vector<std::string> dropped;
};
Result<MatchedTensors> match_tensors(const SafetensorsFile& file, const ModelConfig& model, const std::string& path);

// Metadata key of files that `par5 unpack` wrote. Their values are code · scale already; quantising them again would
// give other scales, so checkpoint_config refuses them.
inline constexpr const char* kDequantizedKey = "par5.dequantized";

// The model and quantiser sections of a checkpoint's metadata (key "par5.config", TOML), or of `config_path` for
// foreign safetensors. Neither there is a usage error that says so.
Result<LoadedConfig> checkpoint_config(const SafetensorsFile& file, const std::string& path,
                                       const std::string& config_path);
// The metadata entry that a checkpoint needs for checkpoint_config.
std::map<std::string, std::string> checkpoint_metadata(const LoadedConfig& config);

}  // namespace par5
