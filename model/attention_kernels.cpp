#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "model/attention_kernels.cpp"
#include "hwy/foreach_target.h"
// After foreach_target.h, which includes this file once per instruction set.
#include "model/head_preparation-inl.h"

HWY_BEFORE_NAMESPACE();
namespace par5::kernels {
namespace HWY_NAMESPACE {

template <class T>
void query_key_rows(const QueryKey& job, const T* qkv, T* rotated, std::size_t begin, std::size_t end) {
  const std::size_t width = job.head_width, half = width / 2, rotated_heads = job.heads + job.kv_heads;
  for (std::size_t row = begin; row < end; ++row) {
    const std::size_t angles = row % job.length * half;
    for (std::size_t head = 0; head < rotated_heads; ++head) {
      const T* in = qkv + row * (rotated_heads + job.kv_heads) * width + head * width;
      const float inverse = inverse_rms(in, width, job.preparation.epsilon);
      rotate_head(in, width, head < job.heads ? inverse * job.preparation.gain[head] : inverse,
                  job.preparation.cosine + angles, job.preparation.sine + angles,
                  rotated + (row * rotated_heads + head) * width);
    }
  }
}

void QueryKeyRows(const QueryKey& job, std::size_t begin, std::size_t end) {
  with_element(job.qkv,
               [&](auto* qkv) { query_key_rows(job, qkv, static_cast<decltype(qkv)>(job.rotated.data), begin, end); });
}

}  // namespace HWY_NAMESPACE
}  // namespace par5::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace par5::kernels {

HWY_EXPORT(QueryKeyRows);

void query_key(const QueryKey& job, std::size_t begin, std::size_t end) {
  HWY_DYNAMIC_DISPATCH(QueryKeyRows)(job, begin, end);
}

}  // namespace par5::kernels
#endif
