// Between LibTorch tensors and the kernels: pointers, threads, sums over rows.
#pragma once

#include <optional>

#include "model/kernels.h"
#include "model/tensor.h"

namespace par5::fused {

using torch::autograd::AutogradContext;
using torch::autograd::tensor_list;
using OptionalTensor = std::optional<torch::Tensor>;

inline OptionalTensor optional(const torch::Tensor& tensor) {
  return tensor.defined() ? OptionalTensor(tensor) : std::nullopt;
}

// The memory of a contiguous tensor; of an undefined one, null.
inline kernels::Matrix matrix(const torch::Tensor& tensor) {
  if (!tensor.defined()) return {};
  return {tensor.data_ptr(),
          tensor.scalar_type() == torch::kBFloat16 ? kernels::Element::bfloat16 : kernels::Element::float32};
}
inline float* floats(const torch::Tensor& tensor) { return tensor.defined() ? tensor.data_ptr<float>() : nullptr; }

inline std::size_t size(std::int64_t value) { return static_cast<std::size_t>(value); }

// Calls work(begin, end) over all rows, shared among LibTorch's threads.
template <class Work>
void over_rows(std::int64_t rows, std::int64_t row_width, Work&& work) {
  const std::int64_t grain = std::max<std::int64_t>(1, 16384 / std::max<std::int64_t>(1, row_width));
  at::parallel_for(0, rows, grain, [&](std::int64_t begin, std::int64_t end) {
    work(static_cast<std::size_t>(begin), static_cast<std::size_t>(end));
  });
}

// An array per thread that rows are summed into, and their sum in the order of the threads: the same for the same
// number of threads.
class ThreadSums {
 public:
  explicit ThreadSums(std::int64_t width)
      : sums_(torch::zeros({at::get_num_threads(), (width + 15) / 16 * 16})), width_(width) {}
  float* mine() { return sums_.data_ptr<float>() + at::get_thread_num() * sums_.size(1); }
  torch::Tensor total() const { return sums_.sum(0).narrow(0, 0, width_); }

 private:
  torch::Tensor sums_;
  std::int64_t width_;
};

}  // namespace par5::fused
