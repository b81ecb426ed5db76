#include "archive/coder/kernels.h"

#include <cmath>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace par5::coder {
namespace {

void accumulate_scalar(float* accumulator, const float* row, float factor, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) accumulator[i] = std::fma(row[i], factor, accumulator[i]);
}

void rotate_scalar(float* row, float* other, float cosine, float sine, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) {
    const float a = row[i], b = other[i];
    row[i] = std::fma(sine, b, cosine * a);
    other[i] = std::fma(-sine, a, cosine * b);
  }
}

constexpr Kernels kScalar{Target::scalar, accumulate_scalar, rotate_scalar};

#if defined(__x86_64__)

__attribute__((target("avx2,fma"))) void accumulate_avx2(float* accumulator, const float* row, float factor,
                                                         std::size_t count) {
  const __m256 f = _mm256_set1_ps(factor);
  for (std::size_t i = 0; i < count; i += 8)
    _mm256_storeu_ps(accumulator + i, _mm256_fmadd_ps(_mm256_loadu_ps(row + i), f, _mm256_loadu_ps(accumulator + i)));
}

__attribute__((target("avx2,fma"))) void rotate_avx2(float* row, float* other, float cosine, float sine,
                                                     std::size_t count) {
  const __m256 c = _mm256_set1_ps(cosine), s = _mm256_set1_ps(sine);
  for (std::size_t i = 0; i < count; i += 8) {
    const __m256 a = _mm256_loadu_ps(row + i), b = _mm256_loadu_ps(other + i);
    _mm256_storeu_ps(row + i, _mm256_fmadd_ps(s, b, _mm256_mul_ps(c, a)));
    _mm256_storeu_ps(other + i, _mm256_fnmadd_ps(s, a, _mm256_mul_ps(c, b)));
  }
}

__attribute__((target("avx512f"))) void accumulate_avx512(float* accumulator, const float* row, float factor,
                                                          std::size_t count) {
  const __m512 f = _mm512_set1_ps(factor);
  for (std::size_t i = 0; i < count; i += 16)
    _mm512_storeu_ps(accumulator + i, _mm512_fmadd_ps(_mm512_loadu_ps(row + i), f, _mm512_loadu_ps(accumulator + i)));
}

__attribute__((target("avx512f"))) void rotate_avx512(float* row, float* other, float cosine, float sine,
                                                      std::size_t count) {
  const __m512 c = _mm512_set1_ps(cosine), s = _mm512_set1_ps(sine);
  for (std::size_t i = 0; i < count; i += 16) {
    const __m512 a = _mm512_loadu_ps(row + i), b = _mm512_loadu_ps(other + i);
    _mm512_storeu_ps(row + i, _mm512_fmadd_ps(s, b, _mm512_mul_ps(c, a)));
    _mm512_storeu_ps(other + i, _mm512_fnmadd_ps(s, a, _mm512_mul_ps(c, b)));
  }
}

constexpr Kernels kAvx2{Target::avx2, accumulate_avx2, rotate_avx2};
constexpr Kernels kAvx512{Target::avx512, accumulate_avx512, rotate_avx512};

#endif

}  // namespace

bool target_available(Target target) {
#if defined(__x86_64__)
  if (target == Target::avx2) return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (target == Target::avx512) return __builtin_cpu_supports("avx512f");
#endif
  return target == Target::scalar;
}

Target best_target() {
  for (const Target target : {Target::avx512, Target::avx2})
    if (target_available(target)) return target;
  return Target::scalar;
}

std::string_view target_name(Target target) {
  switch (target) {
    case Target::avx2:
      return "avx2";
    case Target::avx512:
      return "avx512";
    case Target::scalar:
      break;
  }
  return "scalar";
}

const Kernels& kernels(Target target) {
#if defined(__x86_64__)
  if (target == Target::avx2) return kAvx2;
  if (target == Target::avx512) return kAvx512;
#endif
  (void)target;
  return kScalar;
}

#if defined(__x86_64__)
// 0x1f80: all exceptions masked, round to nearest, no flush to zero, no denormals as zero.
IeeeArithmetic::IeeeArithmetic() : saved_(_mm_getcsr()) { _mm_setcsr(0x1f80); }
IeeeArithmetic::~IeeeArithmetic() { _mm_setcsr(saved_); }
#else
IeeeArithmetic::IeeeArithmetic() = default;
IeeeArithmetic::~IeeeArithmetic() = default;
#endif

}  // namespace par5::coder
