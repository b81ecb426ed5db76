#include "core/tensor_pieces.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>

namespace par5 {

bool is_floating_point(DType dtype) {
  return dtype == DType::float64 || dtype == DType::float32 || dtype == DType::float16 || dtype == DType::bfloat16 ||
         dtype == DType::float8_e4m3;
}

Status read_floats(const TensorView& tensor, std::size_t first, std::span<float> out) {
  const std::size_t width = bytes_per_element(tensor.dtype), values = tensor.data.size() / width;
  if (first > values || out.size() > values - first)
    return internal_error("tensor '" + tensor.name + "' does not have the values that are asked for");
  P5_TRY(const auto floats, to_floats(TensorView{tensor.name,
                                                 tensor.dtype,
                                                 {static_cast<std::int64_t>(out.size())},
                                                 tensor.data.subspan(first * width, out.size() * width)}));
  std::copy(floats.begin(), floats.end(), out.begin());
  return {};
}

void release_pages(std::span<const std::byte> part) {
  const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto begin = (reinterpret_cast<std::uintptr_t>(part.data()) + page - 1) / page * page;
  const auto end = (reinterpret_cast<std::uintptr_t>(part.data()) + part.size()) / page * page;
  if (begin < end) (void)::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
}

}  // namespace par5
