#include "pack/stored_model.h"

#include <algorithm>
#include <cmath>

#include "core/half.h"

namespace par5 {
namespace {

tl::unexpected<Error> bad_value(const std::string& name, std::size_t index, const char* what) {
  return bad_data("value " + std::to_string(index) + " of tensor '" + name + "' " + what, {}, index, name);
}

Result<Fp8Tensor> store_fp8(const std::string& name, std::span<const float> values) {
  Fp8Tensor tensor;
  tensor.codes.resize(values.size());
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (!std::isfinite(values[i])) return bad_value(name, i, "is not finite");
    tensor.codes[i] = e4m3_from_float(values[i]);
  }
  return tensor;
}

Result<Fp16Tensor> store_fp16(const std::string& name, std::span<const float> values) {
  Fp16Tensor tensor;
  tensor.codes.resize(values.size());
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (!std::isfinite(values[i])) return bad_value(name, i, "is not finite");
    tensor.codes[i] = half_from_float(values[i]);
    if ((tensor.codes[i] & 0x7fffu) >= 0x7c00u) return bad_value(name, i, "is too large for fp16");
  }
  return tensor;
}

}  // namespace

std::vector<float> StoredTensor::values(std::size_t threads) const {
  std::vector<float> out(static_cast<std::size_t>(element_count(spec.shape)));
  if (const auto* quantized = std::get_if<QuantizedTensor>(&data)) {
    dequantize(*quantized, out, threads);
  } else if (const auto* fp8 = std::get_if<Fp8Tensor>(&data)) {
    for (std::size_t i = 0; i < out.size(); ++i) out[i] = std::ldexp(float_from_e4m3(fp8->codes[i]), fp8->exponent);
  } else {
    const auto& fp16 = std::get<Fp16Tensor>(data);
    for (std::size_t i = 0; i < out.size(); ++i) out[i] = float_from_half(fp16.codes[i]);
  }
  return out;
}

ScaleError apply_scale_bits(QuantizedTensor& tensor, int bits) {
  ScaleDeltas deltas = fit_scale_deltas(tensor, bits);
  const ScaleError error = scale_error(tensor, deltas);
  tensor.scales = reconstruct_scales(deltas);
  tensor.quantizer.scale_bits = bits;
  tensor.deltas = std::move(deltas);
  return error;
}

ScaleError apply_scale_bits(StoredModel& model, int bits) {
  ScaleError total;
  double squares = 0;
  for (StoredTensor& tensor : model.tensors)
    if (auto* quantized = std::get_if<QuantizedTensor>(&tensor.data)) {
      const ScaleError error = apply_scale_bits(*quantized, bits);
      total.max_log2 = std::max(total.max_log2, error.max_log2);
      squares += error.rms_log2 * error.rms_log2 * static_cast<double>(error.scales);
      total.scales += error.scales;
    }
  if (total.scales > 0) total.rms_log2 = std::sqrt(squares / static_cast<double>(total.scales));
  model.quantizer.scale_bits = bits;
  return total;
}

const StoredTensor* StoredModel::find(std::string_view name) const {
  for (const StoredTensor& tensor : tensors)
    if (tensor.spec.name == name) return &tensor;
  return nullptr;
}

Result<StoredTensor> store_tensor(const TensorSpec& spec, std::span<const float> values,
                                  const QuantizerConfig& quantizer, std::size_t threads,
                                  std::span<const float> corrections) {
  if (static_cast<std::size_t>(element_count(spec.shape)) != values.size())
    return internal_error("tensor '" + spec.name + "' has " + std::to_string(values.size()) +
                          " values, which its shape " + to_string(spec.shape) + " does not need");
  StoredTensor stored;
  stored.spec = spec;
  switch (spec.storage) {
    case Storage::quantized: {
      P5_TRY(QuantizedTensor tensor, quantize(spec.name, spec.shape, values, quantizer, threads, corrections));
      if (quantizer.scale_bits < 16) apply_scale_bits(tensor, static_cast<int>(quantizer.scale_bits));
      stored.data = std::move(tensor);
      break;
    }
    case Storage::fp8: {
      P5_TRY(stored.data, store_fp8(spec.name, values));
      break;
    }
    case Storage::fp16: {
      P5_TRY(stored.data, store_fp16(spec.name, values));
      break;
    }
  }
  return stored;
}

Result<StoredModel> store_checkpoint(const MatchedTensors& matched, const ModelConfig& model,
                                     const QuantizerConfig& quantizer, std::size_t threads) {
  StoredModel stored;
  stored.model = model;
  stored.quantizer = quantizer;
  for (std::size_t i = 0; i < matched.specs.size(); ++i) {
    P5_TRY(const auto values, to_floats(matched.tensors[i]));
    std::vector<float> corrections;
    if (matched.corrections[i]) {
      P5_TRY(corrections, to_floats(*matched.corrections[i]));
    }
    P5_TRY(auto tensor, store_tensor(matched.specs[i], values, quantizer, threads, corrections));
    stored.tensors.push_back(std::move(tensor));
  }
  return stored;
}

}  // namespace par5
