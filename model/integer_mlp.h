// The two linear layers of an MLP and the squared ReLU between them as one differentiable function in 8-bit integers
// (model/integer_linear.h): what lies between two products is made block by block of tokens and never leaves the
// caches, but for the hidden layer's values.
#pragma once

#include "model/integer_linear.h"

namespace par5 {

// What lies between the layers: f(h)² with f(h) = h > 0 ? h : slope · h, then an RMS-norm where it is wanted.
struct SquaredReluForm {
  double slope = 0;
  bool with_norm = false;
};

// rows [n, width], up [hidden, width], down [outputs, hidden], float32 on the CPU -> [n, outputs]: the bits of
// integer_linear, activate and integer_linear. Both matrices must fit (fits_integer_products); all three get gradients.
torch::Tensor integer_mlp(const torch::Tensor& rows, const torch::Tensor& up, const torch::Tensor& down,
                          const SquaredReluForm& form, const IntegerProducts& products);

}  // namespace par5
