// Transposes of matrices of 4-byte words, be they floats or so many small integers. One thread.
#pragma once

#include <cstddef>

namespace par5::kernels {

// out[c, r] = in[r, c] for r < rows and c < columns; the strides from row to row are in words.
void transpose_words(const void* in, std::size_t in_stride, std::size_t rows, std::size_t columns, void* out,
                     std::size_t out_stride);

// Copies what lies below the diagonal of a square matrix above it.
void mirror_lower(float* matrix, std::size_t rows);

}  // namespace par5::kernels
