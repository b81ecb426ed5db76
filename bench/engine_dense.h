// Plain dense kernels of each instruction set.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace par5::bench {

// y = W · x, row-major weights [outputs, inputs], inputs a multiple of 64.
using Dense = void (*)(const float* w, const float* x, std::size_t outputs, std::size_t inputs, float* y);
// Of the instruction set that an engine kernel uses; null where there is none.
Dense dense_fp32(std::string_view kernel);
// The same with bfloat16 weights and activations (pairs in a word); null where the CPU lacks the instruction.
using DenseBf16 = void (*)(const std::uint16_t* w, const std::uint16_t* x, std::size_t outputs, std::size_t inputs,
                           float* y);
DenseBf16 dense_bf16();

}  // namespace par5::bench
