// Internal to the vector kernels: the int8 products and the base-5 decoder, whose instructions Highway 1.0.3 lacks
// (byte-wide lookup across lanes, VNNI). They are written with intrinsics behind target attributes.
#pragma once

#include "engine/kernels.h"

namespace par5::integer {

struct Kernels {
  bool reads_base5;
  void (*product)(const PackedMatrix& matrix, std::size_t block, const QuantizedRows& x, float* out,
                  std::size_t out_stride);
};

Kernels portable();  // the scalar reference
Kernels avx2();
Kernels avx512_vnni();  // VBMI and VNNI
bool cpu_has_avx512_vnni();

// The 12 inputs of a base5 line: out[j][0 … 15], rows of kBlock floats. Needs cpu_has_avx512_vnni().
void decode_base5_line(const std::uint32_t* line, const float* scales, float* out);

}  // namespace par5::integer
