#include "engine/peaks.h"

#include <time.h>

#include <algorithm>
#include <vector>

#include "core/intrinsics.h"

namespace par5 {

double thread_seconds() {
  timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

#if defined(__x86_64__)
namespace {

#define PAR5_BF16 __attribute__((target("avx512f,avx512bw,avx512bf16")))

constexpr int kRounds = 20000, kChains = 16;

__attribute__((target("avx512f"))) float fma_avx512() {
  __m512 sums[kChains];
  const __m512 one = _mm512_set1_ps(0.5f);
  for (auto& sum : sums) sum = one;
  for (int i = 0; i < kRounds; ++i)
#pragma GCC unroll 16
    for (auto& sum : sums) sum = _mm512_fmadd_ps(sum, one, one);
  float total = 0;
  for (const auto& sum : sums) total += sum[0];
  return total;
}

__attribute__((target("avx2,fma"))) float fma_avx2() {
  __m256 sums[12];
  const __m256 one = _mm256_set1_ps(0.5f);
  for (auto& sum : sums) sum = one;
  for (int i = 0; i < kRounds; ++i)
#pragma GCC unroll 12
    for (auto& sum : sums) sum = _mm256_fmadd_ps(sum, one, one);
  float total = 0;
  for (const auto& sum : sums) total += sum[0];
  return total;
}

PAR5_BF16 float bf16_avx512() {
  __m512 sums[kChains];
  const __m512bh one = reinterpret_cast<__m512bh>(_mm512_set1_epi32(0x3f003f00));
  for (auto& sum : sums) sum = _mm512_setzero_ps();
  for (int i = 0; i < kRounds; ++i)
#pragma GCC unroll 16
    for (auto& sum : sums) sum = _mm512_dpbf16_ps(sum, one, one);
  float total = 0;
  for (const auto& sum : sums) total += sum[0];
  return total;
}

__attribute__((target("avx512f,avx512vnni"))) float int8_vnni() {
  __m512i sums[kChains];
  const __m512i one = _mm512_set1_epi8(1);
  for (auto& sum : sums) sum = one;
  for (int i = 0; i < kRounds; ++i)
#pragma GCC unroll 16
    for (auto& sum : sums) sum = _mm512_dpbusd_epi32(sum, one, one);
  __m512i total = sums[0];
  for (const auto& sum : sums) total = _mm512_xor_si512(total, sum);
  return static_cast<float>(_mm512_reduce_add_epi32(total));
}

__attribute__((target("avx512f"))) float read_all(const float* x, std::size_t count) {
  __m512 a = _mm512_setzero_ps(), b = a, c = a, d = a;
  for (std::size_t i = 0; i + 64 <= count; i += 64) {
    a = _mm512_add_ps(a, _mm512_loadu_ps(x + i));
    b = _mm512_add_ps(b, _mm512_loadu_ps(x + i + 16));
    c = _mm512_add_ps(c, _mm512_loadu_ps(x + i + 32));
    d = _mm512_add_ps(d, _mm512_loadu_ps(x + i + 48));
  }
  return _mm512_reduce_add_ps(_mm512_add_ps(_mm512_add_ps(a, b), _mm512_add_ps(c, d)));
}

template <class Work>
double best_rate(double amount, const Work& work) {
  volatile float keep = 0;
  double best = 1e9;
  for (int i = 0; i < 9; ++i) {
    const double start = thread_seconds();
    keep = keep + work();
    best = std::min(best, thread_seconds() - start);
  }
  return amount / best;
}

}  // namespace

Peaks measure_peaks(std::size_t read_bytes) {
  Peaks peaks;
  constexpr double kWork = 2.0 * kRounds * kChains;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
    peaks.fp32_avx2 = best_rate(2.0 * kRounds * 12 * 8, fma_avx2);
  if (!__builtin_cpu_supports("avx512f")) return peaks;
  peaks.fp32 = best_rate(kWork * 16, fma_avx512);
  if (__builtin_cpu_supports("avx512bf16")) peaks.bf16 = best_rate(kWork * 32, bf16_avx512);
  if (__builtin_cpu_supports("avx512vnni")) peaks.int8 = best_rate(kWork * 64, int8_vnni);
  const std::vector<float> memory(read_bytes / sizeof(float), 1.0f);
  peaks.read = best_rate(static_cast<double>(read_bytes), [&] { return read_all(memory.data(), memory.size()); });
  return peaks;
}

#pragma GCC diagnostic pop
#else

Peaks measure_peaks(std::size_t) { return {}; }

#endif

}  // namespace par5
