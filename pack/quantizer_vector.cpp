// The quantiser's loops in Highway, compiled once per instruction set. No operation here is fused or reordered: the 16
// lanes of the definition lie in 16 / N vectors of N lanes.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "pack/quantizer_vector.cpp"
#include <hwy/cache_control.h>
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

// Groups are read one after the other with work and writes between, which the hardware's prefetcher does not follow: a
// quarter less time for 36.5M weights. What lies so far beyond the end is not touched.
constexpr std::size_t kAhead = 256;

float AbsoluteSum(const float* weights, std::size_t count) {
  const Floats d;
  const std::size_t step = hn::Lanes(d);
  HWY_ALIGN float lanes[16];
  const std::size_t whole = count - count % 16;
  for (std::size_t lane = 0; lane < 16; lane += step) {
    auto sum = hn::Zero(d);
    for (std::size_t i = lane; i < whole; i += 16) {
      hwy::Prefetch(weights + i + kAhead);
      sum = hn::Add(sum, hn::Abs(hn::LoadU(d, weights + i)));
    }
    hn::StoreU(sum, d, lanes + lane);
  }
  for (std::size_t i = whole; i < count; ++i)
    lanes[i - whole] += std::bit_cast<float>(std::bit_cast<std::uint32_t>(weights[i]) & 0x7fffffffu);
#if HWY_TARGET == HWY_SCALAR
  for (std::size_t half = 8; half > 0; half /= 2)
    for (std::size_t i = 0; i < half; ++i) lanes[i] += lanes[i + half];
  return lanes[0];
#else
  const hn::FixedTag<float, 4> four;
  const auto eights_low = hn::Add(hn::Load(four, lanes), hn::Load(four, lanes + 8)),
             eights_high = hn::Add(hn::Load(four, lanes + 4), hn::Load(four, lanes + 12));
  const auto fours = hn::Add(eights_low, eights_high), twos = hn::Add(fours, hn::Shuffle1032(fours));
  return hn::GetLane(hn::Add(twos, hn::Shuffle2301(twos)));
#endif
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

// code · unit for the codes of `weights`, with unit = 1 or the scale, limit ≤ 3 (or 0: binary), and never -0. Whether
// the quotient w / scale, rounded to float32, lies beyond 0.5, 1.5 or 2.5 is the same as whether w lies beyond these
// times the scale, which are exact for an fp16 scale: no division is needed (a test compares both around every border).
template <class D, class V = hn::Vec<D>>
V FewLevels(D d, V weights, float scale, int limit, float unit) {
  const auto magnitude = hn::Abs(weights), one = hn::CopySign(hn::Set(d, unit), weights);
  if (limit == 0) return hn::IfThenElse(hn::Ge(weights, hn::Zero(d)), hn::Set(d, unit), hn::Set(d, -unit));
  // Ties go to even codes.
  auto value = hn::IfThenElseZero(hn::Gt(magnitude, hn::Set(d, 0.5f * scale)), one);
  if (limit >= 2)
    value = hn::IfThenElse(hn::Ge(magnitude, hn::Set(d, 1.5f * scale)), hn::Mul(one, hn::Set(d, 2)), value);
  if (limit >= 3)
    value = hn::IfThenElse(hn::Gt(magnitude, hn::Set(d, 2.5f * scale)), hn::Mul(one, hn::Set(d, 3)), value);
  return value;
}
// Codes as floats: integers from -limit to limit, never -0. See quantizer_scalar.cpp for the rounding.
template <class D, class V = hn::Vec<D>>
V ManyLevels(D d, V weights, float scale, int limit) {
  const auto bound = hn::Set(d, static_cast<float>(limit)), shifter = hn::Set(d, 12582912.0f);
  const auto clamped = hn::Min(hn::Max(hn::Div(weights, hn::Set(d, scale)), hn::Neg(bound)), bound);
  return hn::Sub(hn::Add(clamped, shifter), shifter);
}

// Calls work(vector, its index) with the whole vectors of `weights`; gives the index of the first weight after them.
template <class Work>
std::size_t EachVector(const float* weights, std::size_t count, Work&& work) {
  const Floats d;
  const std::size_t step = hn::Lanes(d);
  std::size_t i = 0;
  for (; i + step <= count; i += step) work(hn::LoadU(d, weights + i), i);
  return i;
}

void Encode(const float* weights, std::size_t count, float scale, int limit, std::int8_t* codes) {
  const Floats d;
  const hn::RebindToSigned<Floats> di;
  const hn::Rebind<std::int8_t, Floats> d8;
  const std::size_t done = EachVector(weights, count, [&](auto w, std::size_t i) HWY_ATTR {
    const auto q = limit <= 3 ? FewLevels(d, w, scale, limit, 1) : ManyLevels(d, w, scale, limit);
    hn::StoreU(hn::DemoteTo(d8, hn::ConvertTo(di, q)), d8, codes + i);
  });
  scalar_quantizer_kernels().encode(weights + done, count - done, scale, limit, codes + done);
}

template <int kLimit>
std::size_t RoundToFewLevels(const float* weights, std::size_t count, float scale, float* out) {
  const Floats d;
  return EachVector(weights, count, [&](auto w, std::size_t i) HWY_ATTR {
    hn::StoreU(FewLevels(d, w, scale, kLimit, scale), d, out + i);
  });
}

void RoundToGrid(const float* weights, std::size_t count, float scale, int limit, float* out) {
  const Floats d;
  std::size_t done = 0;
  switch (limit) {
    case 0:
      done = RoundToFewLevels<0>(weights, count, scale, out);
      break;
    case 1:
      done = RoundToFewLevels<1>(weights, count, scale, out);
      break;
    case 2:
      done = RoundToFewLevels<2>(weights, count, scale, out);
      break;
    case 3:
      done = RoundToFewLevels<3>(weights, count, scale, out);
      break;
    default:
      done = EachVector(weights, count, [&](auto w, std::size_t i) HWY_ATTR {
        hn::StoreU(hn::Mul(ManyLevels(d, w, scale, limit), hn::Set(d, scale)), d, out + i);
      });
  }
  scalar_quantizer_kernels().round_to_grid(weights + done, count - done, scale, limit, out + done);
}

std::uint32_t RoundToE4m3(const float* values, std::size_t count, float* out) {
  const Floats d;
  const hn::RebindToUnsigned<Floats> du;
  constexpr float kSteps = 0x1p14f;  // its last place is 2^-9, the step of subnormal numbers: adding it rounds to these
  auto largest = hn::Zero(du);
  const std::size_t done = EachVector(values, count, [&](auto value, std::size_t i) HWY_ATTR {
    const auto magnitude = hn::Abs(value);
    const auto bits = hn::BitCast(du, magnitude);
    largest = hn::Max(largest, bits);
    const auto odd = hn::And(hn::ShiftRight<20>(bits), hn::Set(du, 1));
    const auto rounded = hn::And(hn::Add(hn::Add(bits, hn::Set(du, 0x7ffff)), odd), hn::Set(du, 0xfff00000u));
    const auto normal = hn::Min(hn::BitCast(d, rounded), hn::Set(d, 448.0f)),
               subnormal = hn::Sub(hn::Add(magnitude, hn::Set(d, kSteps)), hn::Set(d, kSteps));
    const auto result = hn::IfThenElse(hn::Lt(magnitude, hn::Set(d, 0x1p-6f)), subnormal, normal);
    hn::StoreU(hn::CopySignToAbs(result, value), d, out + i);
  });
  HWY_ALIGN std::uint32_t lanes[16] = {};
  hn::StoreU(largest, du, lanes);
  std::uint32_t most = scalar_quantizer_kernels().round_to_e4m3(values + done, count - done, out + done);
  for (const std::uint32_t lane : lanes) most = std::max(most, lane);
  return most;
}

QuantizerKernels MakeKernels() { return {AbsoluteSum, AbsoluteMaxBits, Encode, RoundToGrid, RoundToE4m3}; }

}  // namespace HWY_NAMESPACE
}  // namespace par5
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace par5 {

HWY_EXPORT(MakeKernels);
QuantizerKernels fast_quantizer_kernels() { return HWY_DYNAMIC_DISPATCH(MakeKernels)(); }

}  // namespace par5
#endif
