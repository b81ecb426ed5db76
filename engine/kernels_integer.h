// Internal to the vector kernels: the int8 products, whose instructions Highway 1.0.3 lacks (byte-wide lookup across
// lanes, VNNI). They are written with intrinsics behind target attributes.
#pragma once

#include "engine/kernels.h"

namespace par5::integer {

struct Kernels {
  Packing packing, integer_packing;  // as in par5::Kernels
  bool lookup;                       // its CPUs run kernels_decode.h
  void (*product)(const PackedMatrix& matrix, std::size_t first, std::size_t count, const QuantizedRows& x, float* out,
                  std::size_t out_stride);
};

Kernels portable();  // the scalar reference
Kernels avx2();
Kernels avx512_vnni();  // VBMI and VNNI
Kernels
avx512_table();  // VBMI: no multiplication inside a group's sum, for grids of at most five levels; others as above

// The activations of base5 lines from x · factor, as round-to-even integers; all 0 unless usable. Not the step. Needs
// cpu_has_avx512_vnni().
void quantize_base5(const float* x, const PackedMatrix& matrix, bool usable, float factor, QuantizedRow out);

// The tables of `lines` lines (kernels.h, activation_words) from the 3 · lines activations. Needs
// cpu_has_avx512_vnni().
void build_tables(const std::int8_t* activations, std::size_t lines, std::uint32_t* tables);

}  // namespace par5::integer
