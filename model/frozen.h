// Weights that stay as they are while others learn. A matrix product first packs its weight into the order in which it
// reads it; of a frozen weight that is done once instead of in every product, forward and backward.
#pragma once

#include <cstdint>
#include <unordered_map>

#include "model/tensor.h"

namespace par5 {

class FrozenWeights {
 public:
  // From now on `weight` [outputs, inputs] keeps its values and its memory. Ignored unless it is float32 on the CPU and
  // LibTorch has MKL.
  void add(const torch::Tensor& weight);
  bool has(const torch::Tensor& weight) const;

  // rows [rows, inputs] · weightᵀ, differentiable in `rows` alone: as at::linear, which it is where the number of rows
  // is not that of the first call. Takes twice the weight's memory beside it.
  torch::Tensor linear(const torch::Tensor& rows, const torch::Tensor& weight);
  // The same without gradients, and only the weight's memory once more.
  torch::Tensor product(const torch::Tensor& rows, const torch::Tensor& weight);

 private:
  struct Packed {
    std::int64_t rows = 0;  // that it is packed for; 0: not yet
    torch::Tensor forward, backward;
  };
  Packed& packed(const torch::Tensor& weight, std::int64_t rows, bool differentiable);

  std::unordered_map<const void*, Packed> weights_;  // by their memory
};

}  // namespace par5
