// int8 products with AVX2.
#include "core/intrinsics.h"
#include "engine/kernels_integer.h"

namespace par5::integer {

#if defined(__x86_64__)

namespace {

// Products of bytes are added in pairs to 16 bits. Codes of 4 bits give at most 2 · 14 · 127 = 3,556 a pair, so eight
// fit; codes of 2 bits 2 · 2 · 127 = 508, so 64 fit. Codes of 8 bits are made signed first, and one pair fits.
template <unsigned kBits>
PAR5_AVX2_INLINE __m256i byte_products(__m256i line, std::size_t f, __m256i mask, __m256i offset, __m256i activations) {
  if (kBits == 8) {
    const __m256i codes = _mm256_sub_epi8(line, offset);
    return _mm256_maddubs_epi16(_mm256_abs_epi8(codes), _mm256_sign_epi8(activations, codes));
  }
  const __m256i codes = _mm256_and_si256(_mm256_srli_epi16(line, static_cast<int>(kBits * f)), mask);
  return _mm256_maddubs_epi16(codes, activations);
}

// kRows rows by kHalves times 8 outputs, from `output` of the block.
template <unsigned kBits, std::size_t kRows, std::size_t kHalves>
PAR5_AVX2_INLINE void avx2_tile(const PackedMatrix& matrix, std::size_t output, const QuantizedRows& x, std::size_t row,
                                float* out, std::size_t out_stride) {
  constexpr std::size_t kFields = 8 / kBits;
  constexpr std::size_t kLinesAtOnce = kBits == 8 ? 1 : kBits == 4 ? 4 : 16;
  const std::size_t line_count = matrix.lines, row_words = matrix.groups * line_count * kFields;
  const std::size_t panel_words = matrix.groups * line_count * kPanel;
  const __m256i mask = _mm256_set1_epi8(static_cast<char>((1u << kBits) - 1u));
  const __m256i offset = _mm256_set1_epi8(static_cast<char>(matrix.offset));
  const __m256i ones = _mm256_set1_epi16(1);
  const std::uint32_t* activations = x.words + row * row_words;
  const std::uint32_t* words[kHalves];
  const float* scales[kHalves];
  for (std::size_t h = 0; h < kHalves; ++h) {
    words[h] = matrix.panel_words((output + 8 * h) / kPanel) + (output + 8 * h) % kPanel;
    scales[h] = matrix.panel_scales((output + 8 * h) / kPanel) + (output + 8 * h) % kPanel;
  }
  __m256 totals[kRows][kHalves];
#pragma GCC unroll 8
  for (std::size_t r = 0; r < kRows; ++r)
#pragma GCC unroll 8
    for (std::size_t h = 0; h < kHalves; ++h) totals[r][h] = _mm256_setzero_ps();
  for (std::size_t group = 0; group < matrix.groups; ++group) {
    __m256i sums[kRows][kHalves];
#pragma GCC unroll 8
    for (std::size_t r = 0; r < kRows; ++r)
#pragma GCC unroll 8
      for (std::size_t h = 0; h < kHalves; ++h)
        sums[r][h] = _mm256_set1_epi32(kBits == 8 ? 0 : x.starts[(row + r) * matrix.groups + group]);
    for (std::size_t line = 0; line < line_count;) {
      const std::size_t end = line_count - line < kLinesAtOnce ? line_count : line + kLinesAtOnce;
      __m256i pairs[kRows][kHalves];
#pragma GCC unroll 8
      for (std::size_t r = 0; r < kRows; ++r)
#pragma GCC unroll 8
        for (std::size_t h = 0; h < kHalves; ++h) pairs[r][h] = _mm256_setzero_si256();
      for (; line < end; ++line) {
        const std::size_t at = (group * line_count + line) * kPanel;
#pragma GCC unroll 8
        for (std::size_t h = 0; h < kHalves; ++h) {
          const __m256i codes = _mm256_load_si256(reinterpret_cast<const __m256i*>(words[h] + at));
          if (kRows == 1 && h % 2 == 0)  // the next tile's panels, as above
            _mm_prefetch(reinterpret_cast<const char*>(words[h] + at + kHalves / 2 * panel_words), _MM_HINT_T0);
#pragma GCC unroll 4
          for (std::size_t f = 0; f < kFields; ++f)
#pragma GCC unroll 8
            for (std::size_t r = 0; r < kRows; ++r) {
              const __m256i bytes = _mm256_set1_epi32(static_cast<int>(activations[r * row_words + f]));
              pairs[r][h] = _mm256_add_epi16(pairs[r][h], byte_products<kBits>(codes, f, mask, offset, bytes));
            }
        }
        activations += kFields;
      }
#pragma GCC unroll 8
      for (std::size_t r = 0; r < kRows; ++r)
#pragma GCC unroll 8
        for (std::size_t h = 0; h < kHalves; ++h)
          sums[r][h] = _mm256_add_epi32(sums[r][h], _mm256_madd_epi16(pairs[r][h], ones));
    }
#pragma GCC unroll 8
    for (std::size_t h = 0; h < kHalves; ++h) {
      const __m256 scale = _mm256_load_ps(scales[h] + group * kPanel);
#pragma GCC unroll 8
      for (std::size_t r = 0; r < kRows; ++r)
        totals[r][h] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sums[r][h]), scale, totals[r][h]);
    }
  }
#pragma GCC unroll 8
  for (std::size_t r = 0; r < kRows; ++r)
#pragma GCC unroll 8
    for (std::size_t h = 0; h < kHalves; ++h)
      _mm256_storeu_ps(out + (row + r) * out_stride + 8 * h,
                       _mm256_mul_ps(totals[r][h], _mm256_set1_ps(x.steps[row + r])));
}

template <unsigned kBits>
PAR5_AVX2 void avx2_rows(const PackedMatrix& matrix, std::size_t block, const QuantizedRows& x, float* out,
                         std::size_t out_stride) {
  std::size_t row = 0;
  for (; row + 4 <= x.rows; row += 4)
    for (std::size_t o = 0; o < kBlock; o += 16)
      avx2_tile<kBits, 4, 2>(matrix, block * kBlock + o, x, row, out + o, out_stride);
  for (; row < x.rows; ++row)
    for (std::size_t o = 0; o < kBlock; o += 32)
      avx2_tile<kBits, 1, 4>(matrix, block * kBlock + o, x, row, out + o, out_stride);
}

PAR5_AVX2 void avx2_block(const PackedMatrix& matrix, std::size_t block, const QuantizedRows& x, float* out,
                          std::size_t out_stride) {
  switch (matrix.format) {
    case PackedFormat::bits2:
      return avx2_rows<2>(matrix, block, x, out, out_stride);
    case PackedFormat::bits4:
      return avx2_rows<4>(matrix, block, x, out, out_stride);
    default:
      return avx2_rows<8>(matrix, block, x, out, out_stride);
  }
}

void avx2_product(const PackedMatrix& matrix, std::size_t first, std::size_t count, const QuantizedRows& x, float* out,
                  std::size_t out_stride) {
  for (std::size_t i = 0; i < count; ++i) avx2_block(matrix, first + i, x, out + i * kBlock, out_stride);
}

}  // namespace

Kernels avx2() { return {Packing::bits, Packing::bits, false, avx2_product}; }

#else

Kernels avx2() { return portable(); }

#endif

}  // namespace par5::integer
