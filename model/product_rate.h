// How fast this machine multiplies matrices.
#pragma once

#include "core/config.h"
#include "model/tensor.h"

namespace par5 {

// FLOPs per second of all threads together.
struct ProductRates {
  double float32 = 0;
  double bfloat16 = 0;
};

// The best of several products with the two largest matrices of the network's blocks, in both types, by turns: a few
// tens of milliseconds. On the CPU one thread works and its processor time counts, so that other work on the machine
// hardly disturbs; the rate is that of as many such threads as LibTorch has.
ProductRates measure_product_rates(const ModelConfig& model, torch::Device device);

}  // namespace par5
