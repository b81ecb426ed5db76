// The declared arithmetics of the exact engine. docs/arithmetic.md defines every operation and its order.
#pragma once

#include <span>
#include <string_view>

#include "core/error.h"

namespace par5 {

// Stands in artifacts and bitstreams. It changes whenever any bit of any result may change.
constexpr int kArithmeticVersion = 1;

enum class Arithmetic {
  fp32,       // every product is one chain of fused multiply-adds in binary32
  int8,       // quantised layers: int8 activations per token, exact integer sums per group; the rest as fp32
  fp32_adds,  // quantised layers of at most five levels: sums of signed multiples, no products; the rest as fp32
};

// All of them, in the order above: "fp32", "int8", "fp32-adds".
std::span<const Arithmetic> arithmetics();
std::string_view arithmetic_name(Arithmetic arithmetic);
// An unknown name is a usage error.
Result<Arithmetic> arithmetic_from_name(std::string_view name);

}  // namespace par5
