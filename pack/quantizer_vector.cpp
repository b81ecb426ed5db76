// The quantiser's loops in Highway, compiled once per instruction set. No operation here is fused or reordered: the 16
// lanes of the definition lie in 16 / N vectors of N lanes.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "pack/quantizer_vector.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>
#include <bit>

#include "pack/quantizer_kernels.h"

HWY_BEFORE_NAMESPACE();
namespace par5 {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// At most 16 lanes, so that one vector never holds two elements of a lane of the definition.
using Floats = hn::CappedTag<float, 16>;

float AbsoluteSum(const float* weights, std::size_t count) {
  const Floats d;
  const std::size_t step = hn::Lanes(d);
  HWY_ALIGN float lanes[16];
  const std::size_t whole = count - count % 16;
  for (std::size_t lane = 0; lane < 16; lane += step) {
    auto sum = hn::Zero(d);
    for (std::size_t i = lane; i < whole; i += 16) sum = hn::Add(sum, hn::Abs(hn::LoadU(d, weights + i)));
    hn::StoreU(sum, d, lanes + lane);
  }
  for (std::size_t i = whole; i < count; ++i)
    lanes[i - whole] += std::bit_cast<float>(std::bit_cast<std::uint32_t>(weights[i]) & 0x7fffffffu);
  for (std::size_t half = 8; half > 0; half /= 2)
    for (std::size_t i = 0; i < half; ++i) lanes[i] += lanes[i + half];
  return lanes[0];
}

std::uint32_t AbsoluteMaxBits(const float* weights, std::size_t count) {
  const Floats d;
  const hn::RebindToSigned<Floats> di;
  const std::size_t step = hn::Lanes(d);
  auto largest = hn::Zero(di);
  std::size_t i = 0;
  for (; i + step <= count; i += step) largest = hn::Max(largest, hn::BitCast(di, hn::Abs(hn::LoadU(d, weights + i))));
  HWY_ALIGN std::int32_t lanes[16] = {};
  hn::StoreU(largest, di, lanes);
  std::uint32_t result = 0;
  for (const std::int32_t lane : lanes) result = std::max(result, static_cast<std::uint32_t>(lane));
  for (; i < count; ++i) result = std::max(result, std::bit_cast<std::uint32_t>(weights[i]) & 0x7fffffffu);
  return result;
}

// Codes as floats: integers from -limit to limit, never -0. See quantizer_scalar.cpp for the rounding.
template <class V>
V CodesOf(V weights, V scale, V bound, V shifter) {
  const V clamped = hn::Min(hn::Max(hn::Div(weights, scale), hn::Neg(bound)), bound);
  return hn::Sub(hn::Add(clamped, shifter), shifter);
}
template <class V>
V SignsOf(V weights, V zero, V one) {
  return hn::IfThenElse(hn::Ge(weights, zero), one, hn::Neg(one));
}

void Encode(const float* weights, std::size_t count, float scale, int limit, std::int8_t* codes) {
  const Floats d;
  const hn::RebindToSigned<Floats> di;
  const hn::Rebind<std::int8_t, Floats> d8;
  const std::size_t step = hn::Lanes(d);
  const auto vscale = hn::Set(d, scale), bound = hn::Set(d, static_cast<float>(limit)),
             shifter = hn::Set(d, 12582912.0f);
  const auto zero = hn::Zero(d), one = hn::Set(d, 1.0f);
  std::size_t i = 0;
  for (; i + step <= count; i += step) {
    const auto w = hn::LoadU(d, weights + i);
    const auto q = limit == 0 ? SignsOf(w, zero, one) : CodesOf(w, vscale, bound, shifter);
    hn::StoreU(hn::DemoteTo(d8, hn::ConvertTo(di, q)), d8, codes + i);
  }
  scalar_quantizer_kernels().encode(weights + i, count - i, scale, limit, codes + i);
}

void RoundToGrid(const float* weights, std::size_t count, float scale, int limit, float* out) {
  const Floats d;
  const std::size_t step = hn::Lanes(d);
  const auto vscale = hn::Set(d, scale), bound = hn::Set(d, static_cast<float>(limit)),
             shifter = hn::Set(d, 12582912.0f);
  const auto zero = hn::Zero(d), one = hn::Set(d, 1.0f);
  std::size_t i = 0;
  for (; i + step <= count; i += step) {
    const auto w = hn::LoadU(d, weights + i);
    const auto q = limit == 0 ? SignsOf(w, zero, one) : CodesOf(w, vscale, bound, shifter);
    hn::StoreU(hn::Mul(q, vscale), d, out + i);
  }
  scalar_quantizer_kernels().round_to_grid(weights + i, count - i, scale, limit, out + i);
}

QuantizerKernels MakeKernels() { return {AbsoluteSum, AbsoluteMaxBits, Encode, RoundToGrid}; }

}  // namespace HWY_NAMESPACE
}  // namespace par5
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace par5 {

HWY_EXPORT(MakeKernels);
QuantizerKernels fast_quantizer_kernels() { return HWY_DYNAMIC_DISPATCH(MakeKernels)(); }

}  // namespace par5
#endif
