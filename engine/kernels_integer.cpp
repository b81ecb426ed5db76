#include "engine/kernels_integer.h"

#if defined(__x86_64__)
#pragma GCC diagnostic push
#if defined(__GNUC__) && !defined(__clang__)
// g++ 12's own header starts some results from themselves (GCC bug 105593).
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>
#pragma GCC diagnostic pop
#endif

namespace par5::integer {

Kernels portable() { return {Packing::bits, Packing::bits, scalar_kernels().integer_product}; }

#if defined(__x86_64__)

#define PAR5_AVX2 __attribute__((target("avx2,fma")))
#define PAR5_AVX2_INLINE __attribute__((target("avx2,fma"), always_inline)) inline
#define PAR5_VNNI __attribute__((target("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vnni")))
#define PAR5_VNNI_INLINE \
  __attribute__((target("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vnni"), always_inline)) inline

namespace {

// ---- AVX-512 with VBMI and VNNI ----

// Digit `d` of every base-5 byte: one lookup among 125 (of 128) bytes.
struct DigitTables {
  alignas(64) std::uint8_t digit[3][128];
  constexpr DigitTables() : digit() {
    for (int value = 0; value < 125; ++value) {
      digit[0][value] = static_cast<std::uint8_t>(value % 5);
      digit[1][value] = static_cast<std::uint8_t>(value / 5 % 5);
      digit[2][value] = static_cast<std::uint8_t>(value / 25);
    }
  }
};
constexpr DigitTables kDigits;

// How the codes of a line come apart: field f as unsigned bytes beside the activations' bytes.
struct Base5Fields {
  static constexpr std::size_t kFields = 3;
  __m512i low[3], high[3];
  PAR5_VNNI_INLINE Base5Fields() {
    for (int d = 0; d < 3; ++d) {
      low[d] = _mm512_load_si512(kDigits.digit[d]);
      high[d] = _mm512_load_si512(kDigits.digit[d] + 64);
    }
  }
  PAR5_VNNI_INLINE __m512i field(__m512i line, std::size_t f) const {
    return _mm512_permutex2var_epi8(low[f], line, high[f]);
  }
};
template <unsigned kBits>
struct BitFields {
  static constexpr std::size_t kFields = 8 / kBits;
  __m512i mask;
  PAR5_VNNI_INLINE BitFields() : mask(_mm512_set1_epi8(static_cast<char>((1u << kBits) - 1u))) {}
  PAR5_VNNI_INLINE __m512i field(__m512i line, std::size_t f) const {
    if (kBits == 8) return line;
    return _mm512_and_si512(_mm512_srli_epi16(line, static_cast<unsigned>(kBits * f)), mask);
  }
};

PAR5_VNNI_INLINE __m512i broadcast(const std::uint32_t* word) { return _mm512_set1_epi32(static_cast<int>(*word)); }

// kRows rows by kPanels panels from `panel`. VNNI multiplies unsigned codes (code + offset) with signed activations;
// the sums start at -offset · sum of the group's activations, which takes the offset out again.
template <class Fields, std::size_t kRows, std::size_t kPanels>
PAR5_VNNI_INLINE void vnni_tile(const PackedMatrix& matrix, std::size_t panel, const QuantizedRows& x, std::size_t row,
                                float* out, std::size_t out_stride) {
  const Fields fields;
  constexpr std::size_t kFields = Fields::kFields;
  const std::size_t line_count = matrix.lines, panel_words = matrix.groups * line_count * kPanel;
  const std::size_t row_words = matrix.groups * line_count * kFields;
  const std::uint32_t* words = matrix.panel_words(panel);
  const float* scales = matrix.panel_scales(panel);
  const std::uint32_t* activations = x.words + row * row_words;
  __m512 totals[kRows][kPanels];
#pragma GCC unroll 8
  for (std::size_t r = 0; r < kRows; ++r)
#pragma GCC unroll 4
    for (std::size_t p = 0; p < kPanels; ++p) totals[r][p] = _mm512_setzero_ps();
  for (std::size_t group = 0; group < matrix.groups; ++group) {
    __m512i sums[kRows][kPanels];
#pragma GCC unroll 8
    for (std::size_t r = 0; r < kRows; ++r)
#pragma GCC unroll 4
      for (std::size_t p = 0; p < kPanels; ++p)
        sums[r][p] = _mm512_set1_epi32(x.starts[(row + r) * matrix.groups + group]);
    for (std::size_t line = 0; line < line_count; ++line) {
#pragma GCC unroll 4
      for (std::size_t p = 0; p < kPanels; ++p) {
        const __m512i codes = _mm512_load_si512(words + p * panel_words);
#pragma GCC unroll 4
        for (std::size_t f = 0; f < kFields; ++f) {
          const __m512i field = fields.field(codes, f);
#pragma GCC unroll 8
          for (std::size_t r = 0; r < kRows; ++r)
            sums[r][p] = _mm512_dpbusd_epi32(sums[r][p], field, broadcast(activations + r * row_words + f));
        }
      }
      words += kPanel;
      activations += kFields;
    }
#pragma GCC unroll 4
    for (std::size_t p = 0; p < kPanels; ++p) {
      const __m512 scale = _mm512_load_ps(scales + (p * matrix.groups + group) * kPanel);
#pragma GCC unroll 8
      for (std::size_t r = 0; r < kRows; ++r)
        totals[r][p] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sums[r][p]), scale, totals[r][p]);
    }
  }
#pragma GCC unroll 8
  for (std::size_t r = 0; r < kRows; ++r)
#pragma GCC unroll 4
    for (std::size_t p = 0; p < kPanels; ++p)
      _mm512_storeu_ps(out + (row + r) * out_stride + p * kPanel,
                       _mm512_mul_ps(totals[r][p], _mm512_set1_ps(x.steps[row + r])));
}

template <class Fields>
PAR5_VNNI void vnni_rows(const PackedMatrix& matrix, std::size_t block, const QuantizedRows& x, float* out,
                         std::size_t out_stride) {
  const std::size_t panel = block * kPanelsPerBlock;
  std::size_t row = 0;
  for (; row + 4 <= x.rows; row += 4)
    for (std::size_t p = 0; p < kPanelsPerBlock; p += 2)
      vnni_tile<Fields, 4, 2>(matrix, panel + p, x, row, out + p * kPanel, out_stride);
  for (; row + 2 <= x.rows; row += 2) vnni_tile<Fields, 2, 4>(matrix, panel, x, row, out, out_stride);
  for (; row < x.rows; ++row) vnni_tile<Fields, 1, 4>(matrix, panel, x, row, out, out_stride);
}

PAR5_VNNI void vnni_block(const PackedMatrix& matrix, std::size_t block, const QuantizedRows& x, float* out,
                          std::size_t out_stride) {
  switch (matrix.format) {
    case PackedFormat::bits2:
      return vnni_rows<BitFields<2>>(matrix, block, x, out, out_stride);
    case PackedFormat::bits4:
      return vnni_rows<BitFields<4>>(matrix, block, x, out, out_stride);
    case PackedFormat::base5:
      return vnni_rows<Base5Fields>(matrix, block, x, out, out_stride);
    default:
      return vnni_rows<BitFields<8>>(matrix, block, x, out, out_stride);
  }
}

void vnni_product(const PackedMatrix& matrix, std::size_t first, std::size_t count, const QuantizedRows& x, float* out,
                  std::size_t out_stride) {
  for (std::size_t i = 0; i < count; ++i) vnni_block(matrix, first + i, x, out + i * kBlock, out_stride);
}

// ---- AVX-512 with VBMI, without multiplications ----

// A line's table gives the sum of its three activations times codes for every base-5 byte, in 16 bits. 32 lines of
// sums, each at most 3 · 2 · 127 = 762, fit into 16 bits.
constexpr std::size_t kLinesIn16Bits = 32;

// One row by kBlocks blocks: a table is loaded once for all of them.
template <std::size_t kBlocks>
PAR5_VNNI void table_tile(const PackedMatrix& matrix, std::size_t block, const std::uint32_t* tables, float step,
                          float* out) {
  const std::size_t lines = matrix.lines;
  __m512 totals[kBlocks][4];
  for (auto& total : totals)
    for (__m512& part : total) part = _mm512_setzero_ps();
  for (std::size_t group = 0; group < matrix.groups; ++group) {
    __m512i sums[kBlocks][4];
    for (auto& sum : sums)
      for (__m512i& part : sum) part = _mm512_setzero_si512();
    for (std::size_t line = 0; line < lines;) {
      const std::size_t end = lines - line < kLinesIn16Bits ? lines : line + kLinesIn16Bits;
      __m512i even[kBlocks], odd[kBlocks];  // eighths 0, 2, 4, 6 and 1, 3, 5, 7 of the columns
#pragma GCC unroll 8
      for (std::size_t b = 0; b < kBlocks; ++b) even[b] = odd[b] = _mm512_setzero_si512();
      for (; line < end; ++line) {
        const std::uint32_t* table = tables + (group * lines + line) * kTableWords;
        const __m512i low0 = _mm512_load_si512(table), low1 = _mm512_load_si512(table + 16);
        const __m512i high0 = _mm512_load_si512(table + 32), high1 = _mm512_load_si512(table + 48);
#pragma GCC unroll 8
        for (std::size_t b = 0; b < kBlocks; ++b) {
          const __m512i codes = _mm512_load_si512(matrix.column_words(block + b) + (group * lines + line) * kPanel);
          const __m512i low = _mm512_permutex2var_epi8(low0, codes, low1);
          const __m512i high = _mm512_permutex2var_epi8(high0, codes, high1);
          even[b] = _mm512_add_epi16(even[b], _mm512_unpacklo_epi8(low, high));
          odd[b] = _mm512_add_epi16(odd[b], _mm512_unpackhi_epi8(low, high));
        }
      }
      for (std::size_t b = 0; b < kBlocks; ++b) {
        sums[b][0] = _mm512_add_epi32(sums[b][0], _mm512_cvtepi16_epi32(_mm512_castsi512_si256(even[b])));
        sums[b][1] = _mm512_add_epi32(sums[b][1], _mm512_cvtepi16_epi32(_mm512_extracti64x4_epi64(even[b], 1)));
        sums[b][2] = _mm512_add_epi32(sums[b][2], _mm512_cvtepi16_epi32(_mm512_castsi512_si256(odd[b])));
        sums[b][3] = _mm512_add_epi32(sums[b][3], _mm512_cvtepi16_epi32(_mm512_extracti64x4_epi64(odd[b], 1)));
      }
    }
    for (std::size_t b = 0; b < kBlocks; ++b)
      for (std::size_t p = 0; p < 4; ++p) {
        const float* scales = matrix.panel_scales((block + b) * kPanelsPerBlock + p) + group * kPanel;
        totals[b][p] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sums[b][p]), _mm512_load_ps(scales), totals[b][p]);
      }
  }
  for (std::size_t b = 0; b < kBlocks; ++b)
    for (std::size_t p = 0; p < 4; ++p)
      _mm512_storeu_ps(out + b * kBlock + p * kPanel, _mm512_mul_ps(totals[b][p], _mm512_set1_ps(step)));
}

void table_product(const PackedMatrix& matrix, std::size_t first, std::size_t count, const QuantizedRows& x, float* out,
                   std::size_t out_stride) {
  if (matrix.format != PackedFormat::columns) return vnni_product(matrix, first, count, x, out, out_stride);
  const std::size_t words = activation_words(matrix);
  // All blocks for one row before the next: a row's tables are larger than the matrix.
  constexpr std::size_t kBlocks = 4;
  for (std::size_t row = 0; row < x.rows; ++row) {
    const std::uint32_t* tables = x.words + row * words;
    float* to = out + row * out_stride;
    std::size_t i = 0;
    for (; i + kBlocks <= count; i += kBlocks)
      table_tile<kBlocks>(matrix, first + i, tables, x.steps[row], to + i * kBlock);
    for (; i < count; ++i) table_tile<1>(matrix, first + i, tables, x.steps[row], to + i * kBlock);
  }
}

// For the 128 places of a table (125 are used): the digits, as indices into {-2a, -a, 0, a, 2a}.
struct DigitPlaces {
  alignas(64) std::uint16_t digit[3][128];
  constexpr DigitPlaces() : digit() {
    for (int value = 0; value < 125; ++value) {
      digit[0][value] = static_cast<std::uint16_t>(value % 5);
      digit[1][value] = static_cast<std::uint16_t>(value / 5 % 5);
      digit[2][value] = static_cast<std::uint16_t>(value / 25);
    }
  }
};
constexpr DigitPlaces kPlaces;

// {-2a, -a, 0, a, 2a, …} in 16-bit lanes, without a multiplication.
PAR5_VNNI_INLINE __m512i five_multiples(std::int8_t activation) {
  const __m512i one = _mm512_set1_epi16(activation), zero = _mm512_setzero_si512();
  const __m512i minus = _mm512_sub_epi16(zero, one), two = _mm512_add_epi16(one, one);
  __m512i result = _mm512_mask_blend_epi16(0x1, zero, _mm512_add_epi16(minus, minus));
  result = _mm512_mask_blend_epi16(0x2, result, minus);
  result = _mm512_mask_blend_epi16(0x8, result, one);
  return _mm512_mask_blend_epi16(0x10, result, two);
}

// ---- AVX2 ----

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

Kernels avx2() { return {Packing::bits, Packing::bits, avx2_product}; }
Kernels avx512_vnni() { return {Packing::base5, Packing::base5, vnni_product}; }
Kernels avx512_table() { return {Packing::base5, Packing::columns, table_product}; }

PAR5_VNNI void build_tables(const std::int8_t* activations, std::size_t lines, std::uint32_t* tables) {
  alignas(64) std::uint8_t even_bytes[64];
  for (std::size_t i = 0; i < 64; ++i) even_bytes[i] = static_cast<std::uint8_t>(2 * i);
  const __m512i even = _mm512_load_si512(even_bytes), odd = _mm512_add_epi8(even, _mm512_set1_epi8(1));
  for (std::size_t line = 0; line < lines; ++line, activations += 3, tables += kTableWords) {
    const __m512i first = five_multiples(activations[0]), second = five_multiples(activations[1]),
                  third = five_multiples(activations[2]);
    __m512i sums[4];
#pragma GCC unroll 4
    for (std::size_t i = 0; i < 4; ++i) {
      const __m512i low = _mm512_permutexvar_epi16(_mm512_load_si512(kPlaces.digit[0] + 32 * i), first);
      const __m512i middle = _mm512_permutexvar_epi16(_mm512_load_si512(kPlaces.digit[1] + 32 * i), second);
      const __m512i high = _mm512_permutexvar_epi16(_mm512_load_si512(kPlaces.digit[2] + 32 * i), third);
      sums[i] = _mm512_add_epi16(_mm512_add_epi16(low, middle), high);
    }
    _mm512_store_si512(tables, _mm512_permutex2var_epi8(sums[0], even, sums[1]));
    _mm512_store_si512(tables + 16, _mm512_permutex2var_epi8(sums[2], even, sums[3]));
    _mm512_store_si512(tables + 32, _mm512_permutex2var_epi8(sums[0], odd, sums[1]));
    _mm512_store_si512(tables + 48, _mm512_permutex2var_epi8(sums[2], odd, sums[3]));
  }
}

bool cpu_has_avx512_vnni() {
  return __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vbmi") &&
         __builtin_cpu_supports("avx512vnni");
}

PAR5_VNNI void decode_base5_line(const std::uint32_t* line, const float* scales, float* out) {
  const Base5Fields fields;
  const __m512i codes = _mm512_load_si512(line), byte = _mm512_set1_epi32(0xff), two = _mm512_set1_epi32(2);
  const __m512 scale = _mm512_loadu_ps(scales);
#pragma GCC unroll 3
  for (std::size_t d = 0; d < 3; ++d) {
    const __m512i digits = fields.field(codes, d);
#pragma GCC unroll 4
    for (unsigned b = 0; b < 4; ++b) {
      const __m512i code = _mm512_sub_epi32(_mm512_and_si512(_mm512_srli_epi32(digits, 8 * b), byte), two);
      _mm512_storeu_ps(out + (3 * b + d) * kBlock, _mm512_mul_ps(_mm512_cvtepi32_ps(code), scale));
    }
  }
}

#else

Kernels avx2() { return portable(); }
Kernels avx512_vnni() { return portable(); }
Kernels avx512_table() { return portable(); }
void build_tables(const std::int8_t*, std::size_t, std::uint32_t*) {}
bool cpu_has_avx512_vnni() { return false; }

void decode_base5_line(const std::uint32_t* line, const float* scales, float* out) {
  for (std::size_t j = 0; j < 12; ++j)
    for (std::size_t o = 0; o < kPanel; ++o) {
      const unsigned byte = line[o] >> (8 * (j / 3)) & 0xffu;
      const unsigned digit = j % 3 == 0 ? byte % 5 : j % 3 == 1 ? byte / 5 % 5 : byte / 25;
      out[j * kBlock + o] = static_cast<float>(static_cast<int>(digit) - 2) * scales[o];
    }
}

#endif

}  // namespace par5::integer
