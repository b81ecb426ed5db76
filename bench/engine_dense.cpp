#include "bench/engine_dense.h"

#include "core/intrinsics.h"

namespace par5::bench {

#if defined(__x86_64__)
namespace {

__attribute__((target("avx512f"))) void dense_avx512(const float* w, const float* x, std::size_t outputs,
                                                     std::size_t inputs, float* y) {
  for (std::size_t o = 0; o < outputs; ++o, w += inputs) {
    __m512 a = _mm512_setzero_ps(), b = a, c = a, d = a;
    for (std::size_t i = 0; i < inputs; i += 64) {
      a = _mm512_fmadd_ps(_mm512_loadu_ps(w + i), _mm512_loadu_ps(x + i), a);
      b = _mm512_fmadd_ps(_mm512_loadu_ps(w + i + 16), _mm512_loadu_ps(x + i + 16), b);
      c = _mm512_fmadd_ps(_mm512_loadu_ps(w + i + 32), _mm512_loadu_ps(x + i + 32), c);
      d = _mm512_fmadd_ps(_mm512_loadu_ps(w + i + 48), _mm512_loadu_ps(x + i + 48), d);
    }
    y[o] = _mm512_reduce_add_ps(_mm512_add_ps(_mm512_add_ps(a, b), _mm512_add_ps(c, d)));
  }
}

__attribute__((target("avx2,fma"))) void dense_avx2(const float* w, const float* x, std::size_t outputs,
                                                    std::size_t inputs, float* y) {
  for (std::size_t o = 0; o < outputs; ++o, w += inputs) {
    __m256 sums[8];
    for (auto& sum : sums) sum = _mm256_setzero_ps();
    for (std::size_t i = 0; i < inputs; i += 64)
      for (std::size_t k = 0; k < 8; ++k)
        sums[k] = _mm256_fmadd_ps(_mm256_loadu_ps(w + i + 8 * k), _mm256_loadu_ps(x + i + 8 * k), sums[k]);
    float lanes[8] = {};
    for (const auto& sum : sums)
      for (int lane = 0; lane < 8; ++lane) lanes[lane] += sum[lane];
    y[o] = 0;
    for (const float lane : lanes) y[o] += lane;
  }
}

#define PAR5_BF16 __attribute__((target("avx512f,avx512bw,avx512bf16")))

PAR5_BF16 inline __m512bh pairs(const std::uint16_t* from) {
  return reinterpret_cast<__m512bh>(_mm512_loadu_si512(from));
}

PAR5_BF16 void dense_avx512_bf16(const std::uint16_t* w, const std::uint16_t* x, std::size_t outputs,
                                 std::size_t inputs, float* y) {
  for (std::size_t o = 0; o < outputs; ++o, w += inputs) {
    __m512 a = _mm512_setzero_ps(), b = a;
    for (std::size_t i = 0; i < inputs; i += 64) {
      a = _mm512_dpbf16_ps(a, pairs(w + i), pairs(x + i));
      b = _mm512_dpbf16_ps(b, pairs(w + i + 32), pairs(x + i + 32));
    }
    y[o] = _mm512_reduce_add_ps(_mm512_add_ps(a, b));
  }
}

}  // namespace

Dense dense_fp32(std::string_view kernel) {
  if (kernel.starts_with("avx512")) return dense_avx512;
  if (kernel == "avx2") return dense_avx2;
  return nullptr;
}

DenseBf16 dense_bf16() { return __builtin_cpu_supports("avx512bf16") ? dense_avx512_bf16 : nullptr; }

#else

Dense dense_fp32(std::string_view) { return nullptr; }
DenseBf16 dense_bf16() { return nullptr; }

#endif

}  // namespace par5::bench
