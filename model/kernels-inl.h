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
  HWY_ALIGN T rest[kMostLanes] = {};
  std::memcpy(rest, row + i, (n - i) * sizeof(T));
  return load_all(rest);
}
template <class T>
HWY_INLINE void store(V value, T* row, std::size_t i, std::size_t n) {
  if (HWY_LIKELY(i + lanes() <= n)) return store_all(value, row + i);
  HWY_ALIGN T rest[kMostLanes];
  store_all(value, rest);
  std::memcpy(row + i, rest, (n - i) * sizeof(T));
}
HWY_INLINE void add_to(V value, float* row, std::size_t i, std::size_t n) {
  store(hn::Add(load(row, i, n), value), row, i, n);
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
