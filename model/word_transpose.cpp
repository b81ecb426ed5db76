#include "model/word_transpose.h"

#include <algorithm>
#include <cstring>

#include "core/intrinsics.h"
#include "model/integer_kernels.h"
#include "model/integer_rounding.h"

namespace par5::kernels {
namespace {

constexpr std::size_t kBlock = 16;  // side of what is transposed at once
constexpr std::size_t kWord = 4;    // bytes

// out[c, r] = in[r, c] for up to 16 rows and columns of words; strides are in words.
void transpose_portable(const std::byte* in, std::size_t in_stride, std::size_t rows, std::size_t columns,
                        std::byte* out, std::size_t out_stride) {
  for (std::size_t r = 0; r < rows; ++r)
    for (std::size_t c = 0; c < columns; ++c)
      std::memcpy(out + (c * out_stride + r) * kWord, in + (r * in_stride + c) * kWord, kWord);
}

#if defined(__x86_64__)
PAR5_VNNI void transpose_vnni(const std::byte* in, std::size_t in_stride, std::size_t rows, std::size_t columns,
                              std::byte* out, std::size_t out_stride) {
  __m512i row[kBlock], pairs[kBlock], quads[kBlock];
  const __mmask16 in_mask = first_lanes(columns), out_mask = first_lanes(rows);
#pragma GCC unroll 16
  for (std::size_t r = 0; r < kBlock; ++r)
    row[r] = r < rows ? _mm512_maskz_loadu_epi32(in_mask, in + r * in_stride * kWord) : _mm512_setzero_si512();
#pragma GCC unroll 8
  for (std::size_t i = 0; i < kBlock; i += 2) {
    pairs[i] = _mm512_unpacklo_epi32(row[i], row[i + 1]);
    pairs[i + 1] = _mm512_unpackhi_epi32(row[i], row[i + 1]);
  }
#pragma GCC unroll 4
  for (std::size_t i = 0; i < kBlock; i += 4) {
    // Part L of quads[i + k] is column 4 L + k of rows i … i + 3.
    quads[i] = _mm512_unpacklo_epi64(pairs[i], pairs[i + 2]);
    quads[i + 1] = _mm512_unpackhi_epi64(pairs[i], pairs[i + 2]);
    quads[i + 2] = _mm512_unpacklo_epi64(pairs[i + 1], pairs[i + 3]);
    quads[i + 3] = _mm512_unpackhi_epi64(pairs[i + 1], pairs[i + 3]);
  }
  __m512i column[kBlock];
#pragma GCC unroll 4
  for (std::size_t k = 0; k < 4; ++k) {
    const __m512i even_low = _mm512_shuffle_i32x4(quads[k], quads[4 + k], 0x88),
                  even_high = _mm512_shuffle_i32x4(quads[8 + k], quads[12 + k], 0x88),
                  odd_low = _mm512_shuffle_i32x4(quads[k], quads[4 + k], 0xdd),
                  odd_high = _mm512_shuffle_i32x4(quads[8 + k], quads[12 + k], 0xdd);
    column[k] = _mm512_shuffle_i32x4(even_low, even_high, 0x88);
    column[8 + k] = _mm512_shuffle_i32x4(even_low, even_high, 0xdd);
    column[4 + k] = _mm512_shuffle_i32x4(odd_low, odd_high, 0x88);
    column[12 + k] = _mm512_shuffle_i32x4(odd_low, odd_high, 0xdd);
  }
#pragma GCC unroll 16
  for (std::size_t c = 0; c < kBlock; ++c)
    if (c < columns) _mm512_mask_storeu_epi32(out + c * out_stride * kWord, out_mask, column[c]);
}
#endif

using Form = void (*)(const std::byte*, std::size_t, std::size_t, std::size_t, std::byte*, std::size_t);
Form form() {
#if defined(__x86_64__)
  if (takes_fast_integer_products()) return transpose_vnni;
#endif
  return transpose_portable;
}

}  // namespace

void transpose_words(const void* in, std::size_t in_stride, std::size_t rows, std::size_t columns, void* out,
                     std::size_t out_stride) {
  const Form transpose = form();
  const auto* const from = static_cast<const std::byte*>(in);
  auto* const to = static_cast<std::byte*>(out);
  for (std::size_t row = 0; row < rows; row += kBlock)
    for (std::size_t column = 0; column < columns; column += kBlock)
      transpose(from + (row * in_stride + column) * kWord, in_stride, std::min(kBlock, rows - row),
                std::min(kBlock, columns - column), to + (column * out_stride + row) * kWord, out_stride);
}

void mirror_lower(float* matrix, std::size_t rows) {
  for (std::size_t row = 0; row < rows; row += kBlock) {
    const std::size_t count = std::min(kBlock, rows - row);
    transpose_words(matrix + row * rows, rows, count, row, matrix + row, rows);
    for (std::size_t r = 0; r < count; ++r)
      for (std::size_t c = 0; c < r; ++c) matrix[(row + c) * rows + row + r] = matrix[(row + r) * rows + row + c];
  }
}

}  // namespace par5::kernels
