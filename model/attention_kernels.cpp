#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "model/attention_kernels.cpp"
#include "hwy/foreach_target.h"
// After foreach_target.h, which includes this file once per instruction set.
#include "model/kernels-inl.h"

HWY_BEFORE_NAMESPACE();
namespace par5::kernels {
namespace HWY_NAMESPACE {

template <class T>
void query_key_rows(const QueryKey& job, const T* qkv, T* rotated, std::size_t begin, std::size_t end) {
  const Tag d;
  const std::size_t width = job.head_width, half = width / 2, rotated_heads = job.heads + job.kv_heads;
  for (std::size_t row = begin; row < end; ++row) {
    const float* cosine = job.cosine + row % job.length * half;
    const float* sine = job.sine + row % job.length * half;
    for (std::size_t head = 0; head < rotated_heads; ++head) {
      const T* in = qkv + row * (rotated_heads + job.kv_heads) * width + head * width;
      T* out = rotated + (row * rotated_heads + head) * width;
      V squares = hn::Zero(d);
      for (std::size_t i = 0; i < width; i += lanes()) {
        const V x = load(in, i, width);
        squares = hn::MulAdd(x, x, squares);
      }
      const float inverse = 1.0f / std::sqrt(sum_of(squares) / static_cast<float>(width) + job.epsilon);
      job.inverse[row * rotated_heads + head] = inverse;
      const V factor = hn::Set(d, head < job.heads ? inverse * job.gain[head] : inverse);
      for (std::size_t i = 0; i < half; i += lanes()) {
        const V a = hn::Mul(load(in, i, half), factor), b = hn::Mul(load(in + half, i, half), factor);
        const V c = load(cosine, i, half), s = load(sine, i, half);
        store(hn::MulAdd(a, c, hn::Mul(b, s)), out, i, half);
        store(hn::NegMulAdd(a, s, hn::Mul(b, c)), out + half, i, half);
      }
    }
  }
}

void QueryKeyRows(const QueryKey& job, std::size_t begin, std::size_t end) {
  with_element(job.qkv,
               [&](auto* qkv) { query_key_rows(job, qkv, static_cast<decltype(qkv)>(job.rotated.data), begin, end); });
}

template <class T>
void query_key_backward_rows(const QueryKey& job, const QueryKeyGradients& gradients, const T* qkv, std::size_t begin,
                             std::size_t end) {
  const Tag d;
  const std::size_t width = job.head_width, half = width / 2, rotated_heads = job.heads + job.kv_heads;
  const std::size_t row_width = (rotated_heads + job.kv_heads) * width;
  T* const gradient_rows = static_cast<T*>(gradients.qkv);
  for (std::size_t row = begin; row < end; ++row) {
    const float* cosine = job.cosine + row % job.length * half;
    const float* sine = job.sine + row % job.length * half;
    for (std::size_t head = 0; head < rotated_heads; ++head) {
      const bool query = head < job.heads;
      const T* in = qkv + row * row_width + head * width;
      T* gradient = gradient_rows + row * row_width + head * width;
      // The incoming gradient turned back, at lanes i of both halves.
      const auto turned = [&](std::size_t i, V& a, V& b) {
        const V p = load(gradient, i, half), q = load(gradient + half, i, half);
        const V c = load(cosine, i, half), s = load(sine, i, half);
        a = hn::NegMulAdd(q, s, hn::Mul(p, c));
        b = hn::MulAdd(p, s, hn::Mul(q, c));
      };
      V dot = hn::Zero(d), a = dot, b = dot;
      for (std::size_t i = 0; i < half; i += lanes()) {
        turned(i, a, b);
        dot = hn::MulAdd(a, load(in, i, half), hn::MulAdd(b, load(in + half, i, half), dot));
      }
      const float along = sum_of(dot), r = job.inverse[row * rotated_heads + head];
      const float gain = query ? job.gain[head] : 1.0f;
      if (query) gradients.gain[head] += r * along;
      const V factor = hn::Set(d, r * gain), back = hn::Set(d, r * r * r * gain * along / static_cast<float>(width));
      for (std::size_t i = 0; i < half; i += lanes()) {
        turned(i, a, b);
        store(hn::NegMulAdd(back, load(in, i, half), hn::Mul(factor, a)), gradient, i, half);
        store(hn::NegMulAdd(back, load(in + half, i, half), hn::Mul(factor, b)), gradient + half, i, half);
      }
    }
  }
}

void QueryKeyBackwardRows(const QueryKey& job, const QueryKeyGradients& gradients, std::size_t begin, std::size_t end) {
  with_element(job.qkv, [&](auto* qkv) { query_key_backward_rows(job, gradients, qkv, begin, end); });
}

}  // namespace HWY_NAMESPACE
}  // namespace par5::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace par5::kernels {

HWY_EXPORT(QueryKeyRows);
HWY_EXPORT(QueryKeyBackwardRows);

void query_key(const QueryKey& job, std::size_t begin, std::size_t end) {
  HWY_DYNAMIC_DISPATCH(QueryKeyRows)(job, begin, end);
}
void query_key_backward(const QueryKey& job, const QueryKeyGradients& gradients, std::size_t begin, std::size_t end) {
  HWY_DYNAMIC_DISPATCH(QueryKeyBackwardRows)(job, gradients, begin, end);
}

}  // namespace par5::kernels
#endif
