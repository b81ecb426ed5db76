// Loads, stores and sums that the kernels share; included once per instruction set by Highway's foreach_target.
#if defined(PAR5_MODEL_KERNELS_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef PAR5_MODEL_KERNELS_INL_H
#undef PAR5_MODEL_KERNELS_INL_H
#else
#define PAR5_MODEL_KERNELS_INL_H
#endif

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "hwy/highway.h"
#include "model/kernels.h"

HWY_BEFORE_NAMESPACE();
namespace par5::kernels {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

using Tag = hn::ScalableTag<float>;
using HalfTag = hn::Rebind<std::uint16_t, Tag>;
using WordTag = hn::Rebind<std::uint32_t, Tag>;
using V = hn::Vec<Tag>;

constexpr std::size_t kMostLanes = HWY_MAX_BYTES / sizeof(float);
HWY_INLINE std::size_t lanes() { return hn::Lanes(Tag()); }

HWY_INLINE V widen(hn::Vec<HalfTag> bits) {
  return hn::BitCast(Tag(), hn::ShiftLeft<16>(hn::PromoteTo(WordTag(), bits)));
}
// Rounds to nearest even, as bfloat16_from_float does for everything but NaN payloads.
HWY_INLINE hn::Vec<HalfTag> narrow(V value) {
  const WordTag words;
  const auto bits = hn::BitCast(words, value);
  const auto odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(words, 1));
  return hn::TruncateTo(HalfTag(), hn::ShiftRight<16>(hn::Add(hn::Add(bits, hn::Set(words, 0x7fff)), odd)));
}

HWY_INLINE V load_all(const float* p) { return hn::LoadU(Tag(), p); }
HWY_INLINE V load_all(const std::uint16_t* p) { return widen(hn::LoadU(HalfTag(), p)); }
HWY_INLINE void store_all(V value, float* p) { hn::StoreU(value, Tag(), p); }
HWY_INLINE void store_all(V value, std::uint16_t* p) { hn::StoreU(narrow(value), HalfTag(), p); }

// Elements i … i + lanes - 1 of a row of n elements; zero beyond its end.
template <class T>
HWY_INLINE V load(const T* row, std::size_t i, std::size_t n) {
  if (HWY_LIKELY(i + lanes() <= n)) return load_all(row + i);
  // AVX2's and AVX-512's masked loads and stores touch nothing beyond the mask.
  if constexpr (std::is_same_v<T, float> && HWY_TARGET <= HWY_AVX2)
    return hn::MaskedLoad(hn::FirstN(Tag(), n - i), Tag(), row + i);
  HWY_ALIGN T rest[kMostLanes] = {};
  std::memcpy(rest, row + i, (n - i) * sizeof(T));
  return load_all(rest);
}
template <class T>
HWY_INLINE void store(V value, T* row, std::size_t i, std::size_t n) {
  if (HWY_LIKELY(i + lanes() <= n)) return store_all(value, row + i);
  if constexpr (std::is_same_v<T, float> && HWY_TARGET <= HWY_AVX2)
    return hn::BlendedStore(value, hn::FirstN(Tag(), n - i), Tag(), row + i);
  HWY_ALIGN T rest[kMostLanes];
  store_all(value, rest);
  std::memcpy(row + i, rest, (n - i) * sizeof(T));
}
HWY_INLINE void add_to(V value, float* row, std::size_t i, std::size_t n) {
  store(hn::Add(load(row, i, n), value), row, i, n);
}

constexpr float kLog2e = 1.44269504f, kLn2 = 0.693147181f;

// 2^x, relative error about 1e-7 (the polynomial is that of Cephes' exp2f); 0 up to 2^-126; NaN
// passes through. For x <= 1.
HWY_INLINE V power_of_two(V x) {
  const Tag d;
  const V magic = hn::Set(d, 12582912.0f), bounded = hn::Max(hn::Set(d, -126.0f), x);
  // x86's maximum gives the second operand where one is NaN. Adding 1.5 · 2^23 leaves the nearest whole number in the
  // low bits.
  const V shifted = hn::Add(bounded, magic), fraction = hn::Sub(bounded, hn::Sub(shifted, magic));
  V series = hn::MulAdd(fraction, hn::Set(d, 1.535336188319500e-4f), hn::Set(d, 1.339887440266574e-3f));
  series = hn::MulAdd(fraction, series, hn::Set(d, 9.618437357674640e-3f));
  series = hn::MulAdd(fraction, series, hn::Set(d, 5.550332471162809e-2f));
  series = hn::MulAdd(fraction, series, hn::Set(d, 2.402264791363012e-1f));
  series = hn::MulAdd(fraction, series, hn::Set(d, 6.931472028550421e-1f));
  series = hn::MulAdd(fraction, series, hn::Set(d, 1.0f));
  const WordTag words;
  const auto exponent = hn::ShiftLeft<23>(hn::BitCast(words, shifted));
  const V power = hn::BitCast(d, hn::Add(hn::BitCast(words, series), exponent));
  return hn::IfThenZeroElse(hn::Le(x, hn::Set(d, -126.0f)), power);
}

HWY_INLINE float sum_of(V value) { return hn::GetLane(hn::SumOfLanes(Tag(), value)); }

// Calls function(pointer to T) with T as the element says.
template <class Function>
HWY_INLINE void with_element(const Matrix& matrix, Function&& function) {
  if (matrix.element == Element::float32)
    function(static_cast<float*>(matrix.data));
  else
    function(static_cast<std::uint16_t*>(matrix.data));
}

}  // namespace HWY_NAMESPACE
}  // namespace par5::kernels
HWY_AFTER_NAMESPACE();
#endif
