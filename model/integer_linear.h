// Linear layers whose products run in 8-bit integers on the CPU (model/integer_kernels.h), for training: forward,
// toward rows and toward weights. Weights of few levels are exact; rows and gradients are rounded to 8 bits, by a scale
// per row or, of the gradient toward weights, per column; rows once for both of their products. float32 in, float32
// out.
#pragma once

#include <cstdint>

#include "core/config.h"
#include "model/integer_kernels.h"
#include "model/tensor.h"

namespace par5 {

// How weights become 8-bit integers: `group` inputs of a row share a scale, of which `steps` are their largest
// magnitude. Exact where they are a scale times -n … n and n divides steps.
struct IntegerProducts {
  std::int64_t group = 0;
  int steps = 127;
};

// The products in which weights of this quantiser are exact.
IntegerProducts integer_products(const QuantizerConfig& quantizer);

// Memory for rows of 8-bit codes, of no content at first.
class IntegerRowBuffer {
 public:
  IntegerRowBuffer() = default;
  IntegerRowBuffer(std::int64_t rows, const kernels::InnerGroups& inner, bool interleaved = false);
  const kernels::IntegerRows& rows() const { return rows_; }

 private:
  torch::Tensor codes_, scales_, sums_;
  kernels::IntegerRows rows_;
};

// A matrix [outputs, inputs], ready to be multiplied with many rows.
class IntegerWeight {
 public:
  IntegerWeight(const torch::Tensor& matrix, const IntegerProducts& products);

  // rows [n, inputs] float32 -> rows · matrixᵀ [n, outputs]; `rounded` gets the rows as they were multiplied.
  torch::Tensor product(const torch::Tensor& rows, IntegerRowBuffer* rounded = nullptr) const;
  // gradient [n, outputs] float32 -> gradient · matrix [n, inputs]
  torch::Tensor transposed_product(const torch::Tensor& gradient) const;

 private:
  kernels::IntegerMatrix integers() const;
  kernels::PackedPanels panels() const;

  std::int64_t outputs_, inputs_;
  IntegerProducts products_;
  torch::Tensor codes_;   // [outputs, inputs]
  torch::Tensor scales_;  // [groups, outputs]
  torch::Tensor panels_;  // of the product
};

// rows [n, inputs] · weight [outputs, inputs]ᵀ, differentiable; both float32 on the CPU. In float32 where a side of the
// weight is beyond 65,536.
torch::Tensor integer_linear(const torch::Tensor& rows, const torch::Tensor& weight, const IntegerProducts& products);

}  // namespace par5
