// Internal to engine/: products of activations with packed matrices, in the engine's arithmetic, on all threads.
#pragma once

#include <algorithm>
#include <vector>

#include "engine/aligned.h"
#include "engine/arithmetic.h"
#include "engine/kernels.h"
#include "engine/thread_pool.h"

namespace par5 {

// A matrix of activations whose rows begin at cache lines.
struct Rows {
  AlignedVector<float> values;
  std::size_t stride = 0;
  void resize(std::size_t rows, std::size_t width) {
    stride = round_up(width, kBlock);
    if (values.size() < rows * stride) values.resize(rows * stride);
  }
  float* operator[](std::size_t row) { return values.data() + row * stride; }
  const float* operator[](std::size_t row) const { return values.data() + row * stride; }
};

class Products {
 public:
  Products(const Kernels& kernels, Arithmetic arithmetic, ThreadPool& pool);

  // out = input · matrixᵀ for the first `rows` rows, in three steps: room for the arithmetic's own form of the rows;
  // that form of each row, on whatever thread; the product.
  void reserve(const PackedMatrix& matrix, std::size_t rows);
  void convert(const float* input, const PackedMatrix& matrix, std::size_t row, std::size_t rows);
  void multiply(const Rows& input, const PackedMatrix& matrix, std::size_t rows, Rows& out);

  // In fp32, whatever the arithmetic: rows of `input_stride` values, no steps before.
  void multiply_floats(const float* input, std::size_t input_stride, const PackedMatrix& matrix, std::size_t rows,
                       Rows& out);

  // What one task multiplies.
  struct Part {
    std::size_t block, blocks;  // the first, and how many
    std::size_t row, rows;      // likewise
  };
  // Blocks of a part of an fp32 product: their decoded weights and results stay in the cache.
  static constexpr std::size_t kMostBlocks = 8;
  // Calls work(part, thread) for parts that make up all blocks of a matrix and `rows` rows. A part has at most `most`
  // blocks, which share what is read of the rows. Blocks that are left over when every thread has as many as the others
  // are cut by rows, where there are enough of them to make up for decoding a block again.
  template <class Work>
  void each_part(const PackedMatrix& matrix, std::size_t rows, std::size_t most, const Work& work) {
    const std::size_t blocks = matrix.blocks(), threads = pool_.threads();
    const std::size_t odd = rows >= threads * kFewestRowsOfPart ? blocks % threads : 0, even = blocks - odd;
    const std::size_t each = std::max<std::size_t>(even / threads, 1);
    // Few rows and blocks that do not divide: small parts, so that no thread has much more to do than another.
    const std::size_t rounds = even % threads != 0 ? 2 : 1;
    const std::size_t at_once = spread(each, std::max(rounds, spread(each, most)));
    const std::size_t whole = spread(even, at_once);
    pool_.run(whole + odd * threads, [&](std::size_t task, std::size_t thread) {
      if (task < whole) {
        const std::size_t first = task * at_once;
        return work(Part{first, std::min(at_once, even - first), 0, rows}, thread);
      }
      const std::size_t cut = task - whole, slice = cut % threads;
      const std::size_t begin = rows * slice / threads, end = rows * (slice + 1) / threads;
      work(Part{even + cut / threads, 1, begin, end - begin}, thread);
    });
  }
  // An fp32 part, from its first row on: out[row · out_stride + output - first output].
  void multiply_part(const float* input, std::size_t input_stride, const PackedMatrix& matrix, const Part& part,
                     float* out, std::size_t out_stride, std::size_t thread);

 private:
  static constexpr std::size_t kFewestRowsOfPart = 64;
  static std::size_t spread(std::size_t count, std::size_t over) { return (count + over - 1) / over; }

  const Kernels& kernels_;
  const Arithmetic arithmetic_;
  ThreadPool& pool_;
  std::vector<AlignedVector<float>> panels_;  // per thread: decoded weights
  // Forms of the rows converted last: int8, and the tables of fp32-adds.
  AlignedVector<std::uint32_t> quantized_words_;
  std::vector<std::int32_t> quantized_starts_;
  std::vector<float> quantized_steps_;
  AlignedVector<float> tables_;
};

}  // namespace par5
