// The two vector operations of the covariance predictor. Both are elementwise, with every rounding written out, so that
// all targets give the same bits.
#pragma once

#include <cstddef>
#include <string_view>

namespace par5::coder {

constexpr std::size_t kLanes = 16;  // vectors are padded with zeros to a multiple of this

enum class Target { scalar, avx2, avx512 };

struct Kernels {
  Target target;
  // accumulator[i] = fma(row[i], factor, accumulator[i]) for i < count, a multiple of kLanes.
  void (*accumulate)(float* accumulator, const float* row, float factor, std::size_t count);
  // A plane rotation of two vectors: row' = fma(sine, other, cosine · row), other' = fma(-sine, row, cosine · other).
  void (*rotate)(float* row, float* other, float cosine, float sine, std::size_t count);
};

// The fastest target that this CPU has.
Target best_target();
bool target_available(Target target);
std::string_view target_name(Target target);
// The kernels of an available target.
const Kernels& kernels(Target target);

// IEEE rounding without flushing of denormals for as long as the object lives (LibTorch may have set it otherwise).
class IeeeArithmetic {
 public:
  IeeeArithmetic();
  ~IeeeArithmetic();
  IeeeArithmetic(const IeeeArithmetic&) = delete;
  IeeeArithmetic& operator=(const IeeeArithmetic&) = delete;

 private:
  [[maybe_unused]] unsigned saved_ = 0;
};

}  // namespace par5::coder
