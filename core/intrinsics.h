// x86's intrinsics, and the target attributes of functions that use them, which only CPUs that have them may call.
#pragma once

#include <cstdint>

#if defined(__x86_64__)
#pragma GCC diagnostic push
#if defined(__GNUC__) && !defined(__clang__)
// g++ 12's own header starts some results from themselves (GCC bug 105593).
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>
#pragma GCC diagnostic pop

#define PAR5_TARGET_AVX2 "avx2,fma"
#define PAR5_TARGET_AVX512 "avx2,fma,avx512f"
#define PAR5_TARGET_VNNI "avx2,fma,avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vnni"
#define PAR5_AVX2 __attribute__((target(PAR5_TARGET_AVX2)))
#define PAR5_AVX2_INLINE __attribute__((target(PAR5_TARGET_AVX2), always_inline)) inline
#define PAR5_AVX512 __attribute__((target(PAR5_TARGET_AVX512)))
#define PAR5_AVX512_INLINE __attribute__((target(PAR5_TARGET_AVX512), always_inline)) inline
// VBMI and VNNI, which no CPU has without the rest of these.
#define PAR5_VNNI __attribute__((target(PAR5_TARGET_VNNI)))
#define PAR5_VNNI_INLINE __attribute__((target(PAR5_TARGET_VNNI), always_inline)) inline
#endif

namespace par5 {

// Whether functions marked PAR5_VNNI run here.
inline bool cpu_has_avx512_vnni() {
#if defined(__x86_64__)
  return __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vbmi") &&
         __builtin_cpu_supports("avx512vnni");
#else
  return false;
#endif
}

#if defined(__x86_64__)
// Sixteen sums. As this type and not __m512i, which is of 64-bit integers: g++ 12 keeps accumulators that change
// between the two in memory.
using WordSums = std::int32_t __attribute__((vector_size(64)));

// Adds to each sum the products of four bytes, unsigned and signed.
PAR5_VNNI_INLINE WordSums dot(WordSums sums, __m512i unsigned_bytes, __m512i signed_bytes) {
  return reinterpret_cast<WordSums>(_mm512_dpbusd_epi32(reinterpret_cast<__m512i>(sums), unsigned_bytes, signed_bytes));
}
// Adds to each sum the products of two signed 16-bit integers.
PAR5_VNNI_INLINE WordSums dot_words(WordSums sums, __m512i a, __m512i b) {
  return reinterpret_cast<WordSums>(_mm512_dpwssd_epi32(reinterpret_cast<__m512i>(sums), a, b));
}
#endif

}  // namespace par5
