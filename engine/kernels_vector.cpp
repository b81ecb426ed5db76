// The vector kernels in Highway, compiled once per instruction set: the loops of kernels_scalar.cpp with 4, 8 or 16
// values at a time.
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4)  // their MulAdd is not fused
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "engine/kernels_vector.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "core/intrinsics.h"
#include "engine/kernels.h"
#include "engine/kernels_adds.h"
#include "engine/kernels_decode.h"
#include "engine/kernels_integer.h"
#include "engine/vector-inl.h"
#include "engine/vector_gradient-inl.h"
#include "engine/vector_products-inl.h"
#include "engine/vector_rows-inl.h"

HWY_BEFORE_NAMESPACE();
namespace par5 {
namespace HWY_NAMESPACE {
namespace {
#if PAR5_VECTOR_TARGET

Kernels MakeKernels(const char* name, const integer::Kernels& integer, const adds::Kernels& adds) {
  return {.name = name,
          .packing = integer.packing,
          .integer_packing = integer.integer_packing,
          .adds_packing = adds.packing,
          .decode = integer.lookup ? Decode<true> : Decode<false>,
          .product = Product,
          .row_product = integer.lookup ? lookup::row_product : nullptr,
          .quantize_row = QuantizeRow,
          .integer_product = integer.product,
          .adds_tables = adds.tables,
          .adds_product = adds.product,
          .rms_norm = RmsNorm,
          .layer_norm = LayerNorm,
          .multiply = Multiply,
          .scale = Scale,
          .add = Add,
          .add_scaled = AddScaled,
          .mix = Mix,
          .activate = Activate,
          .rotate = Rotate,
          .softmax = Softmax,
          .finish_logits = FinishLogits,
          .log_softmax = LogSoftmax,
          .exponentials = Exponentials,
          .frequencies = Frequencies,
          .log_shares = LogShares,
          .all_finite = AllFinite,
          .dot = Dot,
          .add_multiple = AddMultiple,
          .activation_gradient = ActivationGradient,
          .softmax_gradient = SoftmaxGradient,
          .softcap_gradient = SoftcapGradient};
}

#endif
}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace par5
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace par5 {

std::vector<const Kernels*> vector_kernels() {
  const std::int64_t targets = hwy::SupportedTargets() & HWY_TARGETS;
  std::vector<const Kernels*> kernels;
#if HWY_TARGETS & HWY_AVX3
  static const Kernels avx512_vnni = N_AVX3::MakeKernels("avx512-vnni", integer::avx512_vnni(), adds::avx512());
  static const Kernels avx512_table = N_AVX3::MakeKernels("avx512-table", integer::avx512_table(), adds::avx512());
  static const Kernels avx512 = N_AVX3::MakeKernels("avx512", integer::avx2(), adds::avx512());
  if (targets & HWY_AVX3) {
    if (cpu_has_avx512_vnni()) {
      kernels.push_back(&avx512_vnni);
      kernels.push_back(&avx512_table);
    }
    kernels.push_back(&avx512);
  }
#endif
#if HWY_TARGETS & HWY_AVX2
  static const Kernels avx2 = N_AVX2::MakeKernels("avx2", integer::avx2(), adds::avx2());
  if (targets & HWY_AVX2) kernels.push_back(&avx2);
#endif
#if HWY_TARGETS & HWY_NEON
  static const Kernels neon = N_NEON::MakeKernels("neon", integer::portable(), adds::portable());
  if (targets & HWY_NEON) kernels.push_back(&neon);
#endif
  return kernels;
}

}  // namespace par5
#endif
