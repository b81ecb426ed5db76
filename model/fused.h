// The fused CPU forms of model/operations.h, as differentiable functions over the kernels of model/kernels.h.
#pragma once

#include "model/operations.h"

namespace par5::fused {

// Whether the fused forms take this tensor: on the CPU, float32 or bfloat16.
inline bool supported(const torch::Tensor&) { return false; }

torch::Tensor rms_norm(const torch::Tensor& x, torch::ScalarType out);
Normed add_scaled(const torch::Tensor& x, const torch::Tensor& branch, const torch::Tensor& scale,
                  torch::ScalarType out);
Border cross_border(const BorderInputs& inputs, torch::ScalarType out);
torch::Tensor relu2(const torch::Tensor& hidden, bool with_norm);

}  // namespace par5::fused
