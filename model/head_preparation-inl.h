// Queries and keys as attention takes them, a head of a row at a time; included once per instruction set by Highway's
// foreach_target.
#if defined(PAR5_MODEL_HEAD_PREPARATION_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef PAR5_MODEL_HEAD_PREPARATION_INL_H
#undef PAR5_MODEL_HEAD_PREPARATION_INL_H
#else
#define PAR5_MODEL_HEAD_PREPARATION_INL_H
#endif

#include "model/kernels-inl.h"

HWY_BEFORE_NAMESPACE();
namespace par5::kernels {
namespace HWY_NAMESPACE {

// 1 / the root mean square of a head.
template <class T>
HWY_INLINE float inverse_rms(const T* in, std::size_t width, float epsilon) {
  V squares = hn::Zero(Tag());
  for (std::size_t i = 0; i < width; i += lanes()) {
    const V x = load(in, i, width);
    squares = hn::MulAdd(x, x, squares);
  }
  return 1.0f / std::sqrt(sum_of(squares) / static_cast<float>(width) + epsilon);
}

// out = `in` times `factor`, turned by the angles of its position.
template <class T, class U>
HWY_INLINE void rotate_head(const T* in, std::size_t width, float factor, const float* cosine, const float* sine,
                            U* out) {
  const std::size_t half = width / 2;
  const V by = hn::Set(Tag(), factor);
  for (std::size_t i = 0; i < half; i += lanes()) {
    const V a = hn::Mul(load(in, i, half), by), b = hn::Mul(load(in + half, i, half), by);
    const V c = load(cosine, i, half), s = load(sine, i, half);
    store(hn::MulAdd(a, c, hn::Mul(b, s)), out, i, half);
    store(hn::NegMulAdd(a, s, hn::Mul(b, c)), out + half, i, half);
  }
}

// From `gradient`, times `factor`, with respect to a head that has been divided by its root mean square, multiplied
// with `gain` and rotated: to the head, in `out`; gives that of the gain.
template <class T>
HWY_INLINE float prepared_head_backward(const T* in, const float* gradient, std::size_t width, float factor,
                                        float inverse, float gain, const float* cosine, const float* sine, T* out) {
  const std::size_t half = width / 2;
  const Tag d;
  const V by = hn::Set(d, factor);
  // The incoming gradient turned back, at lanes i of both halves.
  const auto turned = [&](std::size_t i, V& a, V& b) HWY_ATTR {
    const V p = hn::Mul(load(gradient, i, half), by), q = hn::Mul(load(gradient + half, i, half), by);
    const V c = load(cosine, i, half), s = load(sine, i, half);
    a = hn::NegMulAdd(q, s, hn::Mul(p, c));
    b = hn::MulAdd(p, s, hn::Mul(q, c));
  };
  V dot = hn::Zero(d), a = dot, b = dot;
  for (std::size_t i = 0; i < half; i += lanes()) {
    turned(i, a, b);
    dot = hn::MulAdd(a, load(in, i, half), hn::MulAdd(b, load(in + half, i, half), dot));
  }
  const float along = sum_of(dot);
  const V scale = hn::Set(d, inverse * gain),
          back = hn::Set(d, inverse * inverse * inverse * gain * along / static_cast<float>(width));
  for (std::size_t i = 0; i < half; i += lanes()) {
    turned(i, a, b);
    store(hn::NegMulAdd(back, load(in, i, half), hn::Mul(scale, a)), out, i, half);
    store(hn::NegMulAdd(back, load(in + half, i, half), hn::Mul(scale, b)), out + half, i, half);
  }
  return inverse * along;
}

}  // namespace HWY_NAMESPACE
}  // namespace par5::kernels
HWY_AFTER_NAMESPACE();
#endif
