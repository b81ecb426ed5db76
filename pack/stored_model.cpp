#include "pack/stored_model.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>

#include "core/half.h"
#include "pack/quantizer_kernels.h"

namespace par5 {
namespace {

tl::unexpected<Error> bad_value(const std::string& name, std::size_t index, const char* what) {
  return bad_data("value " + std::to_string(index) + " of tensor '" + name + "' " + what, {}, index, name);
}

// The first value that is not finite; their number if all are.
std::size_t first_not_finite(std::span<const float> values) {
  std::uint32_t largest = 0;
  for (const float value : values) largest = std::max(largest, std::bit_cast<std::uint32_t>(value) & 0x7fffffffu);
  if (largest < 0x7f800000u) return values.size();
  return static_cast<std::size_t>(
      std::find_if(values.begin(), values.end(), [](float value) { return !std::isfinite(value); }) - values.begin());
}

Status check_finite(const std::string& name, std::span<const float> values) {
  if (const std::size_t bad = first_not_finite(values); bad < values.size())
    return bad_value(name, bad, "is not finite");
  return {};
}
Status check_halves(const std::string& name, std::span<const std::uint16_t> codes) {
  for (std::size_t i = 0; i < codes.size(); ++i)
    if ((codes[i] & 0x7fffu) >= 0x7c00u) return bad_value(name, i, "is too large for fp16");
  return {};
}

Result<Fp8Tensor> store_fp8(const std::string& name, std::span<const float> values) {
  P5_OK(check_finite(name, values));
  Fp8Tensor tensor;
  tensor.codes.resize(values.size());
  e4m3_from_floats(values, tensor.codes);
  return tensor;
}

Result<Fp16Tensor> store_fp16(const std::string& name, std::span<const float> values) {
  P5_OK(check_finite(name, values));
  Fp16Tensor tensor;
  tensor.codes.resize(values.size());
  half_from_floats(values, tensor.codes);
  P5_OK(check_halves(name, tensor.codes));
  return tensor;
}

void widen_fp8(std::span<const std::uint8_t> codes, int exponent, std::span<float> out) {
  std::array<float, 256> table;
  for (unsigned code = 0; code < 256; ++code)
    table[code] = std::ldexp(float_from_e4m3(static_cast<std::uint8_t>(code)), exponent);
  for (std::size_t i = 0; i < codes.size(); ++i) out[i] = table[codes[i]];
}
void widen_fp16(std::span<const std::uint16_t> codes, std::span<float> out) {
  for (std::size_t i = 0; i < codes.size(); ++i) out[i] = float_from_half(codes[i]);
}

}  // namespace

std::vector<float> StoredTensor::values(std::size_t threads) const {
  std::vector<float> out(static_cast<std::size_t>(element_count(spec.shape)));
  if (const auto* quantized = std::get_if<QuantizedTensor>(&data)) {
    dequantize(*quantized, out, threads);
  } else if (const auto* fp8 = std::get_if<Fp8Tensor>(&data)) {
    widen_fp8(fp8->codes, fp8->exponent, out);
  } else {
    widen_fp16(std::get<Fp16Tensor>(data).codes, out);
  }
  return out;
}

Status round_to_storage(const TensorSpec& spec, std::span<const float> values, const QuantizerConfig& quantizer,
                        std::span<float> out) {
  if (spec.storage == Storage::quantized) return quantize_dequantize(spec.name, spec.shape, values, quantizer, out);
  if (spec.storage == Storage::fp8) {
    if (fast_quantizer_kernels().round_to_e4m3(values.data(), values.size(), out.data()) < 0x7f800000u) return {};
    return check_finite(spec.name, values);
  }
  P5_OK(check_finite(spec.name, values));
  // Codes of a piece stay in the cache until they are values again.
  constexpr std::size_t kPiece = 4096;
  std::array<std::uint16_t, kPiece> halves;
  for (std::size_t begin = 0; begin < values.size(); begin += kPiece) {
    const std::size_t count = std::min(kPiece, values.size() - begin);
    const auto piece = values.subspan(begin, count);
    half_from_floats(piece, halves);
    if (const Status good = check_halves(spec.name, std::span(halves).first(count)); !good)
      return store_fp16(spec.name, values).map([](const Fp16Tensor&) {});  // names the value by its place in all
    widen_fp16(std::span(halves).first(count), out.subspan(begin, count));
  }
  return {};
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
