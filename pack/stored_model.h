// A model as it is stored: every tensor in its stored precision. The one form that lies between a checkpoint, an
// artifact and whoever computes with the weights, so that the packed model is the trained model by construction:
//   checkpoint ──store_checkpoint──▶ StoredModel ◀──decode── artifact;  StoredModel ──values──▶ engine, LibTorch
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "core/config.h"
#include "pack/architecture.h"
#include "pack/quantizer.h"

namespace par5 {

// An fp8 e4m3 tensor: value = e4m3(code) · 2^exponent.
struct Fp8Tensor {
  std::vector<std::uint8_t> codes;
  int exponent = 0;
};
// An fp16 tensor: IEEE binary16 bits.
struct Fp16Tensor {
  std::vector<std::uint16_t> codes;
};

struct StoredTensor {
  TensorSpec spec;
  std::variant<QuantizedTensor, Fp8Tensor, Fp16Tensor> data;

  // The float32 values that this tensor stands for, row-major.
  std::vector<float> values(std::size_t threads = 1) const;
};

struct StoredModel {
  ModelConfig model;
  QuantizerConfig quantizer;
  std::vector<StoredTensor> tensors;  // in tensor_specs order

  const StoredTensor* find(std::string_view name) const;
};

// One tensor in its stored precision; `corrections` as quantize takes them. A value that is not finite is bad_data
// (tensor and index named).
Result<StoredTensor> store_tensor(const TensorSpec& spec, std::span<const float> values,
                                  const QuantizerConfig& quantizer, std::size_t threads = 1,
                                  std::span<const float> corrections = {});

// The same values as store_tensor(…)->values() with fp16 scales, without keeping codes: training's forward weights.
// `out` has the size of `values`; after an error it holds nothing of use.
Status round_to_storage(const TensorSpec& spec, std::span<const float> values, const QuantizerConfig& quantizer,
                        std::span<float> out);

// Replaces fp16 scales by what `bits`-bit deltas (4, 5, 6 or 8) make of them and keeps the deltas; codes stay as they
// are. Returns what that costs.
ScaleError apply_scale_bits(QuantizedTensor& tensor, int bits);
// The same for all tensors and the model's own quantiser; the error is that of all scales together.
ScaleError apply_scale_bits(StoredModel& model, int bits);

// A whole checkpoint; scales are fp16, or what `quantizer.scale_bits` makes of them (scale_codec.h).
Result<StoredModel> store_checkpoint(const MatchedTensors& matched, const ModelConfig& model,
                                     const QuantizerConfig& quantizer, std::size_t threads = 1);

}  // namespace par5
