#include "core/tensor.h"

#include <cstring>

#include "core/half.h"

namespace par5 {
namespace {

struct DTypeRow {
  DType dtype;
  std::string_view name;
  std::size_t bytes;
};

constexpr DTypeRow kDTypes[] = {
    {DType::float64, "F64", 8},   {DType::float32, "F32", 4},         {DType::float16, "F16", 2},
    {DType::bfloat16, "BF16", 2}, {DType::float8_e4m3, "F8_E4M3", 1}, {DType::int64, "I64", 8},
    {DType::int32, "I32", 4},     {DType::int16, "I16", 2},           {DType::int8, "I8", 1},
    {DType::uint8, "U8", 1},      {DType::boolean, "BOOL", 1},
};

template <class Stored, class Convert>
void convert_all(std::span<const std::byte> data, std::vector<float>& out, Convert convert) {
  for (std::size_t i = 0; i < out.size(); ++i) {
    Stored stored;
    std::memcpy(&stored, data.data() + i * sizeof(Stored), sizeof(Stored));
    out[i] = convert(stored);
  }
}

}  // namespace

std::size_t bytes_per_element(DType dtype) { return kDTypes[static_cast<std::size_t>(dtype)].bytes; }
std::string_view dtype_name(DType dtype) { return kDTypes[static_cast<std::size_t>(dtype)].name; }

Result<DType> dtype_from_name(std::string_view name) {
  for (const DTypeRow& row : kDTypes)
    if (row.name == name) return row.dtype;
  return bad_data("the element type '" + std::string(name) + "' is not one that par5 reads");
}

std::int64_t element_count(const Shape& shape) {
  std::int64_t count = 1;
  for (const std::int64_t extent : shape) count *= extent;
  return count;
}

std::string to_string(const Shape& shape) {
  std::string text = "[";
  for (std::size_t i = 0; i < shape.size(); ++i) text += (i ? ", " : "") + std::to_string(shape[i]);
  return text + "]";
}

Tensor Tensor::from_floats(std::string name, Shape shape, std::span<const float> values) {
  Tensor tensor{std::move(name), DType::float32, std::move(shape), std::vector<std::byte>(values.size_bytes())};
  if (!values.empty()) std::memcpy(tensor.data.data(), values.data(), values.size_bytes());
  return tensor;
}

Result<std::vector<float>> to_floats(const TensorView& tensor) {
  std::vector<float> out(static_cast<std::size_t>(element_count(tensor.shape)));
  if (tensor.data.size() != out.size() * bytes_per_element(tensor.dtype))
    return internal_error("tensor '" + tensor.name + "' does not have the bytes that its shape needs");
  switch (tensor.dtype) {
    case DType::float64:
      convert_all<double>(tensor.data, out, [](double v) { return static_cast<float>(v); });
      break;
    case DType::float32:
      convert_all<float>(tensor.data, out, [](float v) { return v; });
      break;
    case DType::float16:
      convert_all<std::uint16_t>(tensor.data, out, float_from_half);
      break;
    case DType::bfloat16:
      convert_all<std::uint16_t>(tensor.data, out, float_from_bfloat16);
      break;
    case DType::float8_e4m3:
      convert_all<std::uint8_t>(tensor.data, out, float_from_e4m3);
      break;
    default:
      return bad_data("tensor '" + tensor.name + "' holds " + std::string(dtype_name(tensor.dtype)) +
                      " values where floating-point weights are expected");
  }
  return out;
}

}  // namespace par5
