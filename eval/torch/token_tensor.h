// Token ids as LibTorch's indices.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>

#include "model/tensor.h"

namespace par5 {

// tokens, row-major [windows, length] -> the same as int64 on `device`.
inline torch::Tensor token_tensor(std::span<const std::uint16_t> tokens, std::int64_t windows, std::int64_t length,
                                  torch::Device device) {
  torch::Tensor ids = torch::empty({windows, length}, torch::kInt64);
  std::copy(tokens.begin(), tokens.end(), ids.mutable_data_ptr<std::int64_t>());
  return ids.to(device);
}

}  // namespace par5
