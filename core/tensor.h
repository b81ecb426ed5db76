// Typed tensors as spans: the form in which modules hand each other weights without sharing a framework.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"

namespace par5 {

enum class DType : std::uint8_t {
  float64,
  float32,
  float16,
  bfloat16,
  float8_e4m3,
  int64,
  int32,
  int16,
  int8,
  uint8,
  boolean
};

std::size_t bytes_per_element(DType dtype);
// safetensors' names: "F32", "BF16", "F8_E4M3", ...
std::string_view dtype_name(DType dtype);
Result<DType> dtype_from_name(std::string_view name);

using Shape = std::vector<std::int64_t>;
// Product of the extents; 1 for a scalar. The shape must have been checked (no negative extents, no overflow).
std::int64_t element_count(const Shape& shape);
// "[1152, 576]"
std::string to_string(const Shape& shape);

// A row-major tensor that lives elsewhere. `data` has element_count(shape) * bytes_per_element(dtype) bytes.
struct TensorView {
  std::string name;
  DType dtype = DType::float32;
  Shape shape;
  std::span<const std::byte> data;
};

// A row-major tensor that owns its bytes.
struct Tensor {
  std::string name;
  DType dtype = DType::float32;
  Shape shape;
  std::vector<std::byte> data;

  TensorView view() const { return {name, dtype, shape, data}; }
  static Tensor from_floats(std::string name, Shape shape, std::span<const float> values);
};

// The tensor's values as float32 (exact for every float type but float64). Integer types are an error.
Result<std::vector<float>> to_floats(const TensorView& tensor);

}  // namespace par5
