// For tensors that are too large to be held as floats in one piece.
#pragma once

#include <cstddef>
#include <span>

#include "core/error.h"
#include "core/tensor.h"

namespace par5 {

bool is_floating_point(DType dtype);

// out.size() values from index `first` on, as to_floats gives them. Beyond the tensor is an internal error.
Status read_floats(const TensorView& tensor, std::size_t first, std::span<float> out);

// Gives back the memory of pages of a read-only map that lie wholly in `part`; reading them again loads them again.
void release_pages(std::span<const std::byte> part);

}  // namespace par5
