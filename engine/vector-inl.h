// Internal to the vector kernels (kernels_vector.cpp): vectors of 4, 8 or 16 floats, loops over arrays, row reductions,
// elementary functions. The 16 lanes of a row reduction lie in 16 / N vectors of N lanes.
#if defined(PAR5_ENGINE_VECTOR_INL_H_) == defined(HWY_TARGET_TOGGLE)  // once for every instruction set
#ifdef PAR5_ENGINE_VECTOR_INL_H_
#undef PAR5_ENGINE_VECTOR_INL_H_
#else
#define PAR5_ENGINE_VECTOR_INL_H_
#endif

#include <hwy/highway.h>

#include <cmath>
#include <cstddef>

#include "engine/elementary.h"

// Targets whose vectors have a size that the compiler knows.
#undef PAR5_VECTOR_TARGET
#define PAR5_VECTOR_TARGET (HWY_TARGET != HWY_SCALAR && HWY_TARGET != HWY_EMU128 && !HWY_HAVE_SCALABLE)

HWY_BEFORE_NAMESPACE();
namespace par5 {
namespace HWY_NAMESPACE {
namespace {
#if PAR5_VECTOR_TARGET
namespace hn = hwy::HWY_NAMESPACE;

using Floats = hn::CappedTag<float, 16>;
using Ints = hn::RebindToSigned<Floats>;
using Words = hn::RebindToUnsigned<Floats>;
using V = hn::Vec<Floats>;
constexpr std::size_t kN = hn::MaxLanes(Floats());
constexpr std::size_t kVectors = 16 / kN;  // that make up the 16 lanes of a reduction
constexpr Floats kF;

HWY_INLINE V Constant(float value) { return hn::Set(kF, value); }

// The first `count` values (any more are 0), and their counterpart.
HWY_INLINE V LoadSome(const float* x, std::size_t count) {
  return count >= kN ? hn::LoadU(kF, x) : hn::MaskedLoad(hn::FirstN(kF, count), kF, x);
}
HWY_INLINE void StoreSome(V v, float* x, std::size_t count) {
  if (count >= kN)
    hn::StoreU(v, kF, x);
  else
    hn::BlendedStore(v, hn::FirstN(kF, count), kF, x);
}

// The 16 lanes of a reduction.
struct Lanes {
  V part[kVectors];
  HWY_INLINE Lanes() {
    for (V& v : part) v = hn::Zero(kF);
  }
  HWY_INLINE float Join() const {
    alignas(64) float lanes[16];
    for (std::size_t i = 0; i < kVectors; ++i) hn::Store(part[i], kF, lanes + i * kN);
    for (std::size_t half = 8; half > 0; half /= 2)
      for (std::size_t i = 0; i < half; ++i) lanes[i] = lanes[i] + lanes[i + half];
    return lanes[0];
  }
};

// Calls step(lane, value) for 16 values at a time; values past the end are not taken in.
template <class Step>
HWY_INLINE void Reduce(const float* x, std::size_t n, Lanes& lanes, const Step& step) {
  std::size_t i = 0;
  for (; i + 16 <= n; i += 16)
    for (std::size_t v = 0; v < kVectors; ++v) lanes.part[v] = step(lanes.part[v], hn::LoadU(kF, x + i + v * kN));
  for (std::size_t v = 0; v < kVectors && i + v * kN < n; ++v) {
    const std::size_t left = n - i - v * kN;
    const V taken = step(lanes.part[v], LoadSome(x + i + v * kN, left));
    lanes.part[v] = left >= kN ? taken : hn::IfThenElse(hn::FirstN(kF, left), taken, lanes.part[v]);
  }
}
struct Sum {
  HWY_INLINE V operator()(V lane, V x) const { return hn::Add(lane, x); }
};
struct SquareSum {
  HWY_INLINE V operator()(V lane, V x) const { return hn::MulAdd(x, x, lane); }
};
struct DifferenceSquareSum {
  float mean;
  HWY_INLINE V operator()(V lane, V x) const {
    const V difference = hn::Sub(x, Constant(mean));
    return hn::MulAdd(difference, difference, lane);
  }
};

// out[i] = f(x[i]) and f(x[i], y[i]).
template <class F>
HWY_INLINE void Map(const float* x, std::size_t n, float* out, const F& f) {
  for (std::size_t i = 0; i < n; i += kN) StoreSome(f(LoadSome(x + i, n - i)), out + i, n - i);
}
template <class F>
HWY_INLINE void Map(const float* x, const float* y, std::size_t n, float* out, const F& f) {
  for (std::size_t i = 0; i < n; i += kN) StoreSome(f(LoadSome(x + i, n - i), LoadSome(y + i, n - i)), out + i, n - i);
}

// ---- elementary functions: the operations of engine/elementary.h ----

HWY_INLINE V Exp(V x) {
  const V shifted = hn::MulAdd(x, Constant(exact::kLog2E), Constant(exact::kRounder));
  const V n = hn::Sub(shifted, Constant(exact::kRounder));
  V r = hn::MulAdd(n, Constant(-exact::kLn2High), x);
  r = hn::MulAdd(n, Constant(-exact::kLn2Low), r);
  V p = hn::MulAdd(r, Constant(exact::kExp[4]), Constant(exact::kExp[3]));
  p = hn::MulAdd(r, p, Constant(exact::kExp[2]));
  p = hn::MulAdd(r, p, Constant(exact::kExp[1]));
  p = hn::MulAdd(r, p, Constant(exact::kExp[0]));
  p = hn::MulAdd(hn::Mul(r, r), p, r);
  p = hn::Add(p, Constant(1.0f));
  const Words words;
  V result = hn::BitCast(kF, hn::Add(hn::BitCast(words, p), hn::ShiftLeft<23>(hn::BitCast(words, shifted))));
  result = hn::IfThenElse(hn::Gt(x, Constant(exact::kExpHighest)), Constant(HUGE_VALF), result);
  const V low = hn::IfThenElseZero(hn::Ne(x, x), x);
  return hn::IfThenElse(hn::Ge(x, Constant(exact::kExpLowest)), result, low);
}

HWY_INLINE V Tanh(V x) {
  const V t = hn::Abs(x), s = hn::Mul(x, x);
  V p = hn::MulAdd(s, Constant(exact::kTanh[4]), Constant(exact::kTanh[3]));
  p = hn::MulAdd(s, p, Constant(exact::kTanh[2]));
  p = hn::MulAdd(s, p, Constant(exact::kTanh[1]));
  p = hn::MulAdd(s, p, Constant(exact::kTanh[0]));
  const V small = hn::MulAdd(hn::Mul(x, s), p, x);
  const V quotient = hn::Div(Constant(2.0f), hn::Add(Exp(hn::Add(t, t)), Constant(1.0f)));
  const V large = hn::CopySign(hn::Sub(Constant(1.0f), quotient), x);
  return hn::IfThenElse(hn::Lt(t, Constant(exact::kTanhSmall)), small, large);
}

HWY_INLINE V Erf(V x) {
  const V t = hn::Abs(x), s = hn::Mul(x, x);
  V p = hn::MulAdd(s, Constant(exact::kErf[6]), Constant(exact::kErf[5]));
  for (int i = 4; i >= 0; --i) p = hn::MulAdd(s, p, Constant(exact::kErf[i]));
  const V small = hn::MulAdd(x, p, x);
  const V largest = Constant(exact::kErfLargest);
  const V u = hn::IfThenElse(hn::Lt(t, largest), t, largest);
  V g = hn::MulAdd(u, Constant(exact::kErfc[6]), Constant(exact::kErfc[5]));
  for (int i = 4; i >= 0; --i) g = hn::MulAdd(u, g, Constant(exact::kErfc[i]));
  const V large = hn::CopySign(hn::Sub(Constant(1.0f), Exp(hn::Neg(hn::Add(u, g)))), x);
  return hn::IfThenElse(hn::Lt(t, Constant(1.0f)), small, large);
}

struct ReluSquare {
  HWY_INLINE V operator()(V x) const {
    const V positive = hn::IfThenElseZero(hn::Gt(x, hn::Zero(kF)), x);
    return hn::Mul(positive, positive);
  }
};
struct LeakyReluSquare {
  HWY_INLINE V operator()(V x) const {
    const V leaky = hn::IfThenElse(hn::Gt(x, hn::Zero(kF)), x, hn::Mul(Constant(0.5f), x));
    return hn::Mul(leaky, leaky);
  }
};
struct GatedSilu {
  HWY_INLINE V operator()(V gate, V up) const {
    return hn::Mul(hn::Div(gate, hn::Add(Constant(1.0f), Exp(hn::Neg(gate)))), up);
  }
};
struct Gelu {
  HWY_INLINE V operator()(V x) const {
    const V half = hn::Mul(Constant(0.5f), x);
    return hn::Mul(half, hn::Add(Constant(1.0f), Erf(hn::Mul(x, Constant(exact::kSqrtHalf)))));
  }
};

#endif  // PAR5_VECTOR_TARGET
}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace par5
HWY_AFTER_NAMESPACE();

#endif
