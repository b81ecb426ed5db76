#include "engine/products.h"

#include "engine/kernels_decode.h"

namespace par5 {
namespace {

// Inputs decoded at a time: 64 outputs of them stay in the second-level cache beside many rows, in the first-level
// cache for few.
constexpr std::size_t kInputsAtOnce = 384, kInputsAtOnceFewRows = 96, kFewRows = 8;

template <class Vector>
void grow(Vector& vector, std::size_t size) {
  if (vector.size() < size) vector.resize(size);
}

}  // namespace

Products::Products(const Kernels& kernels, Arithmetic arithmetic, ThreadPool& pool)
    : kernels_(kernels), arithmetic_(arithmetic), pool_(pool), panels_(pool.threads()) {
  for (auto& panel : panels_) panel.resize(kInputsAtOnce * kBlock);
}

void Products::reserve(const PackedMatrix& matrix, std::size_t rows) {
  if (arithmetic_ == Arithmetic::int8) {
    grow(quantized_words_, rows * activation_words(matrix, rows));
    grow(quantized_starts_, rows * matrix.groups);
    grow(quantized_steps_, rows);
  }
  if (arithmetic_ == Arithmetic::fp32_adds) grow(tables_, rows * table_floats(matrix));
}

void Products::convert(const float* input, const PackedMatrix& matrix, std::size_t row, std::size_t rows) {
  if (arithmetic_ == Arithmetic::int8)
    kernels_.quantize_row(input, matrix, rows,
                          {quantized_words_.data() + row * activation_words(matrix, rows),
                           quantized_starts_.data() + row * matrix.groups, quantized_steps_.data() + row});
  if (arithmetic_ == Arithmetic::fp32_adds)
    kernels_.adds_tables(input, matrix, tables_.data() + row * table_floats(matrix));
}

void Products::multiply(const Rows& input, const PackedMatrix& matrix, std::size_t rows, Rows& out) {
  if (arithmetic_ == Arithmetic::fp32) return multiply_floats(input[0], input.stride, matrix, rows, out);
  out.resize(rows, matrix.outputs);
  each_part(matrix, rows, matrix.blocks(), [&](const Part& part, std::size_t) {
    float* to = out[part.row] + part.block * kBlock;
    if (arithmetic_ == Arithmetic::int8)
      kernels_.integer_product(
          matrix, part.block, part.blocks,
          {quantized_words_.data() + part.row * activation_words(matrix, rows),
           quantized_starts_.data() + part.row * matrix.groups, quantized_steps_.data() + part.row, part.rows},
          to, out.stride);
    else
      kernels_.adds_product(matrix, part.block, part.blocks, tables_.data() + part.row * table_floats(matrix),
                            part.rows, to, out.stride);
  });
}

void Products::multiply_floats(const float* input, std::size_t input_stride, const PackedMatrix& matrix,
                               std::size_t rows, Rows& out) {
  out.resize(rows, matrix.outputs);
  each_part(matrix, rows, kMostBlocks, [&](const Part& part, std::size_t thread) {
    multiply_part(input + part.row * input_stride, input_stride, matrix, part, out[part.row] + part.block * kBlock,
                  out.stride, thread);
  });
}

void Products::multiply_part(const float* input, std::size_t input_stride, const PackedMatrix& matrix, const Part& part,
                             float* out, std::size_t out_stride, std::size_t thread) {
  if (part.rows == 1 && kernels_.row_product && lookup::reads(matrix.format))
    return kernels_.row_product(matrix, part.block, part.blocks, input, out);
  float* panel = panels_[thread].data();
  const std::size_t at_once = part.rows < kFewRows ? kInputsAtOnceFewRows : kInputsAtOnce;
  // The same inputs of all rows for one block after the other, while they are in the cache.
  for (std::size_t first = 0; first < matrix.inputs; first += at_once) {
    const std::size_t taken = std::min(at_once, matrix.inputs - first);
    for (std::size_t block = 0; block < part.blocks; ++block) {
      kernels_.decode(matrix, part.block + block, first, taken, panel);
      kernels_.product(input + first, input_stride, part.rows, panel, kBlock, taken, kBlock, first == 0,
                       out + block * kBlock, out_stride);
    }
  }
}

}  // namespace par5
