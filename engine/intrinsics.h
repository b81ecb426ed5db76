// Internal to engine/ and the bench beside it: x86's intrinsics, and the target attributes of functions that use them. Callers choose by the
// CPU (kernels_vector.cpp).
#pragma once

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
// VBMI and VNNI: cpu_has_avx512_vnni() in kernels_integer.h.
#define PAR5_VNNI __attribute__((target(PAR5_TARGET_VNNI)))
#define PAR5_VNNI_INLINE __attribute__((target(PAR5_TARGET_VNNI), always_inline)) inline
#endif
