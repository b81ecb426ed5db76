// Linear layers whose products run in 8-bit integers on the CPU (model/integer_kernels.h), for training: forward,
// toward rows and toward weights. Weights of few levels are exact; rows and gradients are rounded to 8 bits, by a scale
// per row or, of the gradient toward weights, per column; rows once for both of their products. float32 in, float32
// out.
#pragma once

#include <cstdint>
#include <vector>

#include "core/config.h"
#include "model/integer_kernels.h"
#include "model/tensor.h"

namespace par5 {

// How weights become 8-bit integers: `group` inputs of a row share a scale, of which `steps` are their largest
// magnitude. Exact where they are a scale times -n … n and n divides steps.
struct IntegerProducts {
  std::int64_t group = 0;
  int steps = 127;
};

// The products in which weights of this quantiser are exact.
IntegerProducts integer_products(const QuantizerConfig& quantizer);

// Whether a matrix [outputs, inputs] can be multiplied in integers: longer sums of 255 · 127 could leave 32 bits.
bool fits_integer_products(const torch::Tensor& matrix);

// Tokens whose rows are worked on together, so that what is made of them on the way stays in the caches.
constexpr std::size_t kTokenBlock = 128;
// Calls work(block, first row, count) for all blocks of `rows` tokens, shared among LibTorch's threads.
template <class Work>
void over_token_blocks(std::int64_t rows, Work&& work) {
  const kernels::InnerGroups blocks{static_cast<std::size_t>(rows), kTokenBlock};
  at::parallel_for(0, static_cast<std::int64_t>(blocks.count()), 1, [&](std::int64_t begin, std::int64_t end) {
    for (auto block = static_cast<std::size_t>(begin); block < static_cast<std::size_t>(end); ++block)
      work(block, blocks.first(block), blocks.values(block));
  });
}

// Memory for rows of 8-bit codes, of no content at first.
class IntegerRowBuffer {
 public:
  IntegerRowBuffer() = default;
  IntegerRowBuffer(std::int64_t rows, const kernels::InnerGroups& inner, bool interleaved = false);
  const kernels::IntegerRows& rows() const { return rows_; }

 private:
  torch::Tensor codes_, scales_, sums_;
  kernels::IntegerRows rows_;
};

// A matrix [outputs, inputs], ready to be multiplied with many rows. Members that take pointers work on rows next to
// each other on the calling thread.
class IntegerWeight {
 public:
  IntegerWeight(const torch::Tensor& matrix, const IntegerProducts& products);

  const kernels::InnerGroups& inner() const { return integers_.inputs; }
  std::int64_t outputs() const { return static_cast<std::int64_t>(integers_.outputs); }
  // x [count, inputs] -> x · matrixᵀ, to out [count, outputs]; `rounded`, of count rows, gets x as it was multiplied.
  void multiply(const float* x, std::size_t count, const kernels::IntegerRows& rounded, float* out) const;
  // rows [n, inputs] float32 -> rows · matrixᵀ [n, outputs]; `rounded` gets the rows as they were multiplied.
  torch::Tensor product(const torch::Tensor& rows, IntegerRowBuffer* rounded = nullptr) const;

  // The same matrix for the products toward rows; the weight must outlive it.
  class Transpose {
   public:
    explicit Transpose(const IntegerWeight& weight);
    // gradient [count, outputs] -> gradient · matrix, to out [count, inputs].
    void multiply(const float* gradient, std::size_t count, float* out) const;
    // The same of rows that have been multiplied with scales() and rounded, for a matrix of one group.
    void multiply(const kernels::IntegerRows& rounded, std::size_t count, float* out) const;
    // Of the one group's outputs, [outputs].
    const float* scales() const { return integers_.scales; }

   private:
    kernels::IntegerMatrix integers_;
    kernels::InnerGroups inner_;
    torch::Tensor memory_;
    std::vector<kernels::PackedPanels> groups_;  // of every group of inputs
  };

 private:
  torch::Tensor codes_;   // [outputs, inputs]
  torch::Tensor scales_;  // [groups, outputs]
  torch::Tensor memory_;
  kernels::IntegerMatrix integers_;
  kernels::PackedPanels panels_;  // of the product
};

// gradientᵀ · rows [outputs, inputs] of gradient [n, outputs] and rows [n, inputs] as they were rounded for the
// product. The rows' scales go into the gradient, which, differing much between tokens, is rounded by a scale for each
// of its columns in every block of tokens. The rows must outlive it.
class IntegerOuterProduct {
 public:
  IntegerOuterProduct(const kernels::IntegerRows& rows, std::size_t count, std::int64_t outputs);
  // The gradient's rows of one block, [up to kTokenBlock, outputs]. Blocks can be added on different threads.
  void add(const float* gradient, std::size_t block) const;
  // The same, rounded with dither, of which the first row is number `dither`.
  void add_dithered(const float* gradient, std::size_t block, std::size_t dither) const;
  // When all have been added.
  torch::Tensor result() const;

 private:
  kernels::IntegerRows rows_;
  torch::Tensor codes_, scales_;
  kernels::PackedPanels panels_;
};

// rows [n, inputs] · weight [outputs, inputs]ᵀ, differentiable; both float32 on the CPU. In float32 where
// fits_integer_products says no.
torch::Tensor integer_linear(const torch::Tensor& rows, const torch::Tensor& weight, const IntegerProducts& products);

}  // namespace par5
