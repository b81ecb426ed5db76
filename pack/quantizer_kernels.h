// The inner loops of the quantiser, as a plain scalar reference and as vector code chosen at run time. Both give the
// same bits on every machine: a test compares them. Weights need not be aligned.
#pragma once

#include <cstddef>
#include <cstdint>

namespace par5 {

struct QuantizerKernels {
  // Sum of |w| over `count` weights: lane i adds the weights i, i + 16, i + 32 … in that order, starting from 0; then
  // lane i takes lane i + 8, then i + 4, i + 2, i + 1. Every addition is rounded to float32.
  float (*absolute_sum)(const float* weights, std::size_t count);
  // Float32 bits of the largest |w|; a value that is not finite gives 0x7f800000 or more.
  std::uint32_t (*absolute_max_bits)(const float* weights, std::size_t count);
  // codes = clamp(round_half_even(w / scale), -limit, limit), the quotient rounded to float32; limit 0 means binary:
  // w >= 0 ? +1 : -1. The scale is an fp16 number.
  void (*encode)(const float* weights, std::size_t count, float scale, int limit, std::int8_t* codes);
  // code · scale, without keeping the codes. `out` may be `weights`.
  void (*round_to_grid)(const float* weights, std::size_t count, float scale, int limit, float* out);
  // The values of fp8 e4m3 nearest to `values` (core/half.h). Gives the largest magnitude as absolute_max_bits does;
  // where it is not finite, `out` means nothing. `out` may be `values`.
  std::uint32_t (*round_to_e4m3)(const float* values, std::size_t count, float* out);
};

QuantizerKernels scalar_quantizer_kernels();
// For the best instruction set of this CPU.
QuantizerKernels fast_quantizer_kernels();

}  // namespace par5
