// Internal to the vector kernels: what the backward pass adds to them.
#if defined(PAR5_ENGINE_VECTOR_GRADIENT_INL_H_) == defined(HWY_TARGET_TOGGLE)  // once for every instruction set
#ifdef PAR5_ENGINE_VECTOR_GRADIENT_INL_H_
#undef PAR5_ENGINE_VECTOR_GRADIENT_INL_H_
#else
#define PAR5_ENGINE_VECTOR_GRADIENT_INL_H_
#endif

#include "core/config.h"
#include "engine/vector-inl.h"

HWY_BEFORE_NAMESPACE();
namespace par5 {
namespace HWY_NAMESPACE {
namespace {
#if PAR5_VECTOR_TARGET
float Dot(const float* x, const float* y, std::size_t n) {
  Lanes lanes;
  std::size_t i = 0;
  for (; i + 16 <= n; i += 16)
    for (std::size_t v = 0; v < kVectors; ++v)
      lanes.part[v] = hn::MulAdd(hn::LoadU(kF, x + i + v * kN), hn::LoadU(kF, y + i + v * kN), lanes.part[v]);
  for (std::size_t v = 0; v < kVectors && i + v * kN < n; ++v) {
    const std::size_t left = n - i - v * kN;
    const V taken = hn::MulAdd(LoadSome(x + i + v * kN, left), LoadSome(y + i + v * kN, left), lanes.part[v]);
    lanes.part[v] = left >= kN ? taken : hn::IfThenElse(hn::FirstN(kF, left), taken, lanes.part[v]);
  }
  return lanes.Join();
}

void AddMultiple(const float* x, float factor, const float* y, std::size_t n, float* out) {
  const V f = Constant(factor);
  for (std::size_t i = 0; i < n; i += kN)
    StoreSome(hn::MulAdd(f, LoadSome(y + i, n - i), LoadSome(x + i, n - i)), out + i, n - i);
}

struct ReluSquareGradient {
  HWY_INLINE V operator()(V x, V d) const {
    return hn::IfThenElseZero(hn::Gt(x, hn::Zero(kF)), hn::Mul(hn::Add(x, x), d));
  }
};
struct LeakyReluSquareGradient {
  HWY_INLINE V operator()(V x, V d) const {
    return hn::Mul(hn::IfThenElse(hn::Gt(x, hn::Zero(kF)), hn::Add(x, x), hn::Mul(Constant(0.5f), x)), d);
  }
};
struct GeluGradient {
  HWY_INLINE V operator()(V x, V d) const {
    const V one = Constant(1.0f);
    const V below = hn::Mul(Constant(0.5f), hn::Add(one, Erf(hn::Mul(x, Constant(exact::kSqrtHalf)))));
    const V density = hn::Mul(Exp(hn::Mul(Constant(-0.5f), hn::Mul(x, x))), Constant(exact::kInverseSqrtTwoPi));
    return hn::Mul(hn::MulAdd(x, density, below), d);
  }
};

void GatedSiluGradient(const float* x, const float* d, std::size_t n, float* out) {
  const V one = Constant(1.0f);
  for (std::size_t i = 0; i < n; i += kN) {
    const std::size_t left = n - i;
    const V gate = LoadSome(x + i, left), up = LoadSome(x + n + i, left), slope = LoadSome(d + i, left);
    const V sigmoid = hn::Div(one, hn::Add(one, Exp(hn::Neg(gate))));
    StoreSome(hn::Mul(hn::Mul(slope, up), hn::Mul(sigmoid, hn::MulAdd(gate, hn::Sub(one, sigmoid), one))), out + i,
              left);
    StoreSome(hn::Mul(slope, hn::Mul(gate, sigmoid)), out + n + i, left);
  }
}

void ActivationGradient(Activation activation, const float* x, const float* d, std::size_t n, float* out) {
  switch (activation) {
    case Activation::relu2:
      return Map(x, d, n, out, ReluSquareGradient());
    case Activation::leaky_relu2:
      return Map(x, d, n, out, LeakyReluSquareGradient());
    case Activation::swiglu:
      return GatedSiluGradient(x, d, n, out);
    case Activation::gelu:
      return Map(x, d, n, out, GeluGradient());
  }
}

void SoftmaxGradient(const float* p, std::size_t n, float mean, float factor, float* d) {
  const V m = Constant(mean), f = Constant(factor);
  for (std::size_t i = 0; i < n; i += kN)
    StoreSome(hn::Mul(hn::Mul(LoadSome(p + i, n - i), hn::Sub(LoadSome(d + i, n - i), m)), f), d + i, n - i);
}

template <Softcap kSoftcap>
HWY_INLINE V SoftcapSlope(V z, float inverse) {
  const V one = Constant(1.0f);
  if (kSoftcap == Softcap::none) return one;
  const V u = hn::Mul(z, Constant(inverse));
  if (kSoftcap == Softcap::tanh) {
    const V t = Tanh(u);
    return hn::Sub(one, hn::Mul(t, t));
  }
  const V s = hn::Mul(u, u);
  const V t = hn::Mul(u, hn::MulAdd(s, hn::MulAdd(s, Constant(1.0f / 15.0f), Constant(-1.0f / 3.0f)), one));
  const auto inside = hn::And(hn::And(hn::Gt(u, Constant(-2.0f)), hn::Lt(u, Constant(2.0f))),
                              hn::And(hn::Gt(t, Constant(-1.0f)), hn::Lt(t, one)));
  return hn::IfThenElseZero(inside, hn::MulAdd(s, hn::MulAdd(s, Constant(1.0f / 3.0f), Constant(-1.0f)), one));
}

template <Softcap kSoftcap>
void Slopes(const float* z, const float* bias, float cap, std::size_t n, float* d) {
  const float inverse = 1.0f / cap;
  for (std::size_t i = 0; i < n; i += kN) {
    V value = LoadSome(z + i, n - i);
    if (bias) value = hn::Add(value, LoadSome(bias + i, n - i));
    StoreSome(hn::Mul(LoadSome(d + i, n - i), SoftcapSlope<kSoftcap>(value, inverse)), d + i, n - i);
  }
}

void SoftcapGradient(const float* z, const float* bias, Softcap softcap, float cap, std::size_t n, float* d) {
  switch (softcap) {
    case Softcap::none:
      return Slopes<Softcap::none>(z, bias, cap, n, d);
    case Softcap::tanh:
      return Slopes<Softcap::tanh>(z, bias, cap, n, d);
    case Softcap::poly5:
      return Slopes<Softcap::poly5>(z, bias, cap, n, d);
  }
}

#endif  // PAR5_VECTOR_TARGET
}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace par5
HWY_AFTER_NAMESPACE();

#endif
