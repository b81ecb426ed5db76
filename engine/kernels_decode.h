// Internal to the vector kernels: packed weights → float32 with the byte-wide lookups of AVX-512 VBMI, which Highway
// 1.0.3 lacks: into memory, or straight into the product of one row. To be called where cpu_has_avx512_vnni().
#pragma once

#include "engine/kernels.h"

namespace par5::lookup {

// Whether the functions below read the format: base5 and e4m3.
bool reads(PackedFormat format);

// The weights of `count` whole lines from line `first` of a group of one panel: out[input][0 … 15], rows of kBlock
// floats.
void decode(const PackedMatrix& matrix, std::size_t panel, std::size_t group, std::size_t first, std::size_t count,
            float* out);

// The fp32 product of one row x [matrix.inputs] with blocks first … first + count - 1: out [64 · count].
void row_product(const PackedMatrix& matrix, std::size_t first, std::size_t count, const float* x, float* out);

}  // namespace par5::lookup
