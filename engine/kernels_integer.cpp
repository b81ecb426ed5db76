#include "engine/kernels_integer.h"

#include "engine/intrinsics.h"

namespace par5::integer {

Kernels portable() { return {Packing::bits, Packing::bits, false, scalar_kernels().integer_product}; }

#if defined(__x86_64__)

bool cpu_has_avx512_vnni() {
  return __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vbmi") &&
         __builtin_cpu_supports("avx512vnni");
}

#else

bool cpu_has_avx512_vnni() { return false; }

#endif

}  // namespace par5::integer
