// Transposes of words against their definition, in both forms, within larger matrices.
#include "model/word_transpose.h"

#include <gtest/gtest.h>

#include <numeric>
#include <vector>

#include "model/integer_kernels.h"

namespace par5::kernels {
namespace {

TEST(WordTranspose, MovesEveryWordAndTouchesNoOther) {
  for (const bool portable : {true, false})
    for (const std::size_t rows : {1, 15, 16, 33, 64})
      for (const std::size_t columns : {1, 7, 16, 50}) {
        force_portable_integer_products(portable);
        const std::size_t in_stride = columns + 3, out_stride = rows + 5;
        std::vector<float> in(rows * in_stride), out(columns * out_stride, -1);
        std::iota(in.begin(), in.end(), 0.0f);
        transpose_words(in.data(), in_stride, rows, columns, out.data(), out_stride);
        force_portable_integer_products(false);
        for (std::size_t c = 0; c < columns; ++c)
          for (std::size_t r = 0; r < out_stride; ++r)
            ASSERT_EQ(out[c * out_stride + r], r < rows ? in[r * in_stride + c] : -1) << rows << " " << columns;
      }
}

TEST(WordTranspose, MirrorsTheLowerHalf) {
  for (const bool portable : {true, false})
    for (const std::size_t rows : {1, 15, 16, 33, 100}) {
      force_portable_integer_products(portable);
      std::vector<float> matrix(rows * rows);
      std::iota(matrix.begin(), matrix.end(), 0.0f);
      const std::vector<float> before = matrix;
      mirror_lower(matrix.data(), rows);
      force_portable_integer_products(false);
      for (std::size_t r = 0; r < rows; ++r)
        for (std::size_t c = 0; c < rows; ++c)
          ASSERT_EQ(matrix[r * rows + c], before[std::max(r, c) * rows + std::min(r, c)]);
    }
}

}  // namespace
}  // namespace par5::kernels
