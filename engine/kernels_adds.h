// Internal to the vector kernels: the fp32-adds products with intrinsics. Their inner loops hold lookups and additions
// only; Highway 1.0.3 has no lookup among 32 floats.
#pragma once

#include "engine/kernels.h"

namespace par5::adds {

struct Kernels {
  Packing packing;
  void (*tables)(const float* x, const PackedMatrix& matrix, float* out);  // as in par5::Kernels
  void (*product)(const PackedMatrix& matrix, std::size_t first, std::size_t count, const float* tables,
                  std::size_t rows, float* out, std::size_t out_stride);
};

Kernels portable();  // the scalar reference
Kernels avx2();
Kernels avx512();

}  // namespace par5::adds
