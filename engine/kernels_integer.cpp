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
        // A panel is too short for the processor to foresee the next block's.
        _mm_prefetch(reinterpret_cast<const char*>(words + (p + kPanelsPerBlock) * panel_words), _MM_HINT_T0);
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

// Rows from which on a group's codes are taken apart once for all rows, and the most that is held of them.
constexpr std::size_t kManyRows = 8, kMostApart = 64 * 1024;

// The codes of one group of a block as bytes: [line][field][panel][64].
template <class Fields>
PAR5_VNNI_INLINE void take_apart(const PackedMatrix& matrix, std::size_t block, std::size_t group, std::uint8_t* out) {
  const Fields fields;
  const std::size_t panel_words = matrix.groups * matrix.lines * kPanel;
  const std::uint32_t* words = matrix.panel_words(block * kPanelsPerBlock) + group * matrix.lines * kPanel;
  for (std::size_t line = 0; line < matrix.lines;
       ++line, words += kPanel, out += Fields::kFields * kPanelsPerBlock * 64)
#pragma GCC unroll 4
    for (std::size_t p = 0; p < kPanelsPerBlock; ++p) {
      const __m512i codes = _mm512_load_si512(words + p * panel_words);
#pragma GCC unroll 4
      for (std::size_t f = 0; f < Fields::kFields; ++f)
        _mm512_store_si512(out + (f * kPanelsPerBlock + p) * 64, fields.field(codes, f));
    }
}

// One group of kRows rows of a block: `out` holds the chain over the groups before it, and the result after the last.
template <std::size_t kRows>
PAR5_VNNI_INLINE void apart_tile(const PackedMatrix& matrix, std::size_t block, std::size_t group, std::size_t steps,
                                 const std::uint8_t* codes, const QuantizedRows& x, std::size_t row, float* out,
                                 std::size_t out_stride) {
  const std::size_t row_words = matrix.groups * steps;
  const std::uint32_t* activations = x.words + row * row_words + group * steps;
  __m512i sums[kRows][kPanelsPerBlock];
#pragma GCC unroll 8
  for (std::size_t r = 0; r < kRows; ++r)
#pragma GCC unroll 4
    for (std::size_t p = 0; p < kPanelsPerBlock; ++p)
      sums[r][p] = _mm512_set1_epi32(x.starts[(row + r) * matrix.groups + group]);
  for (std::size_t step = 0; step < steps; ++step, codes += kPanelsPerBlock * 64) {
    __m512i weights[kPanelsPerBlock];
#pragma GCC unroll 4
    for (std::size_t p = 0; p < kPanelsPerBlock; ++p) weights[p] = _mm512_load_si512(codes + p * 64);
#pragma GCC unroll 8
    for (std::size_t r = 0; r < kRows; ++r) {
      const __m512i bytes = broadcast(activations + r * row_words + step);
#pragma GCC unroll 4
      for (std::size_t p = 0; p < kPanelsPerBlock; ++p) sums[r][p] = _mm512_dpbusd_epi32(sums[r][p], weights[p], bytes);
    }
  }
  const bool last = group + 1 == matrix.groups;
#pragma GCC unroll 4
  for (std::size_t p = 0; p < kPanelsPerBlock; ++p) {
    const __m512 scale = _mm512_load_ps(matrix.panel_scales(block * kPanelsPerBlock + p) + group * kPanel);
#pragma GCC unroll 8
    for (std::size_t r = 0; r < kRows; ++r) {
      float* to = out + (row + r) * out_stride + p * kPanel;
      const __m512 before = group == 0 ? _mm512_setzero_ps() : _mm512_loadu_ps(to);
      const __m512 total = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sums[r][p]), scale, before);
      _mm512_storeu_ps(to, last ? _mm512_mul_ps(total, _mm512_set1_ps(x.steps[row + r])) : total);
    }
  }
}

template <class Fields>
PAR5_VNNI void apart_rows(const PackedMatrix& matrix, std::size_t block, const QuantizedRows& x, float* out,
                          std::size_t out_stride) {
  alignas(64) static thread_local std::uint8_t codes[kMostApart];
  const std::size_t steps = matrix.lines * Fields::kFields;
  for (std::size_t group = 0; group < matrix.groups; ++group) {
    take_apart<Fields>(matrix, block, group, codes);
    std::size_t row = 0;
    for (; row + 4 <= x.rows; row += 4) apart_tile<4>(matrix, block, group, steps, codes, x, row, out, out_stride);
    for (; row < x.rows; ++row) apart_tile<1>(matrix, block, group, steps, codes, x, row, out, out_stride);
  }
}

template <class Fields>
PAR5_VNNI void vnni_rows(const PackedMatrix& matrix, std::size_t block, const QuantizedRows& x, float* out,
                         std::size_t out_stride) {
  if (x.rows >= kManyRows && matrix.lines * Fields::kFields * kPanelsPerBlock * 64 <= kMostApart)
    return apart_rows<Fields>(matrix, block, x, out, out_stride);
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

// A line's table gives the sum of its three activations times codes for every base-5 byte, at most 3 · 2 · 127 = 762
// in magnitude, as 64 · high + low: the lows, 0 … 63, of 4 lines fit into an unsigned byte, the highs, -12 … 11, of 8
// into a signed one. Bytes are added up first, then 16-bit sums of even and odd columns, which hold 512 lines.
constexpr std::size_t kLowLines = 4, kHighLines = 8, kLinesIn16Bits = 512;

// 64 · high + low of 16 columns, from half of their 16-bit sums.
PAR5_VNNI_INLINE __m512i widened(__m512i low, __m512i high, int half) {
  const __m256i l = half ? _mm512_extracti64x4_epi64(low, 1) : _mm512_castsi512_si256(low);
  const __m256i h = half ? _mm512_extracti64x4_epi64(high, 1) : _mm512_castsi512_si256(high);
  return _mm512_add_epi32(_mm512_slli_epi32(_mm512_cvtepi16_epi32(h), 6), _mm512_cvtepi16_epi32(l));
}

// One row by kBlocks blocks: a table is loaded once for all of them.
template <std::size_t kBlocks>
PAR5_VNNI void table_tile(const PackedMatrix& matrix, std::size_t block, const std::uint32_t* tables, float step,
                          float* out) {
  static_assert(kHighLines == 2 * kLowLines);
  const std::size_t lines = matrix.lines, block_words = matrix.groups * lines * kPanel;
  const __m512i byte = _mm512_set1_epi16(0xff);
  __m512 totals[kBlocks][4];
  for (auto& total : totals)
    for (__m512& part : total) part = _mm512_setzero_ps();
  for (std::size_t group = 0; group < matrix.groups; ++group) {
    __m512i sums[kBlocks][4];
    for (auto& sum : sums)
      for (__m512i& part : sum) part = _mm512_setzero_si512();
    for (std::size_t line = 0; line < lines;) {
      const std::size_t flush = lines - line < kLinesIn16Bits ? lines : line + kLinesIn16Bits;
      __m512i even_lows[kBlocks], odd_lows[kBlocks], even_highs[kBlocks], odd_highs[kBlocks];
      for (std::size_t b = 0; b < kBlocks; ++b)
        even_lows[b] = odd_lows[b] = even_highs[b] = odd_highs[b] = _mm512_setzero_si512();
      while (line < flush) {
        __m512i highs[kBlocks];
#pragma GCC unroll 8
        for (std::size_t b = 0; b < kBlocks; ++b) highs[b] = _mm512_setzero_si512();
        for (std::size_t half = 0; half < 2 && line < flush; ++half) {
          __m512i lows[kBlocks];
#pragma GCC unroll 8
          for (std::size_t b = 0; b < kBlocks; ++b) lows[b] = _mm512_setzero_si512();
          const std::size_t end = flush - line < kLowLines ? flush : line + kLowLines;
          for (; line < end; ++line) {
            const std::uint32_t* table = tables + (group * lines + line) * kTableWords;
            const std::uint32_t* words = matrix.column_words(block) + (group * lines + line) * kPanel;
            const __m512i low0 = _mm512_load_si512(table), low1 = _mm512_load_si512(table + 16);
            const __m512i high0 = _mm512_load_si512(table + 32), high1 = _mm512_load_si512(table + 48);
#pragma GCC unroll 8
            for (std::size_t b = 0; b < kBlocks; ++b) {
              const __m512i codes = _mm512_load_si512(words + b * block_words);
              _mm_prefetch(reinterpret_cast<const char*>(words + b * block_words + 16 * kPanel), _MM_HINT_T0);
              lows[b] = _mm512_add_epi8(lows[b], _mm512_permutex2var_epi8(low0, codes, low1));
              highs[b] = _mm512_add_epi8(highs[b], _mm512_permutex2var_epi8(high0, codes, high1));
            }
          }
#pragma GCC unroll 8
          for (std::size_t b = 0; b < kBlocks; ++b) {
            even_lows[b] = _mm512_add_epi16(even_lows[b], _mm512_and_si512(lows[b], byte));
            odd_lows[b] = _mm512_add_epi16(odd_lows[b], _mm512_srli_epi16(lows[b], 8));
          }
        }
#pragma GCC unroll 8
        for (std::size_t b = 0; b < kBlocks; ++b) {
          even_highs[b] = _mm512_add_epi16(even_highs[b], _mm512_srai_epi16(_mm512_slli_epi16(highs[b], 8), 8));
          odd_highs[b] = _mm512_add_epi16(odd_highs[b], _mm512_srai_epi16(highs[b], 8));
        }
      }
      for (std::size_t b = 0; b < kBlocks; ++b) {
        sums[b][0] = _mm512_add_epi32(sums[b][0], widened(even_lows[b], even_highs[b], 0));
        sums[b][1] = _mm512_add_epi32(sums[b][1], widened(even_lows[b], even_highs[b], 1));
        sums[b][2] = _mm512_add_epi32(sums[b][2], widened(odd_lows[b], odd_highs[b], 0));
        sums[b][3] = _mm512_add_epi32(sums[b][3], widened(odd_lows[b], odd_highs[b], 1));
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
  constexpr std::size_t kBlocks = 8;
  for (std::size_t row = 0; row < x.rows; ++row) {
    const std::uint32_t* tables = x.words + row * words;
    float* to = out + row * out_stride;
    std::size_t i = 0;
    for (; i + kBlocks <= count; i += kBlocks)
      table_tile<kBlocks>(matrix, first + i, tables, x.steps[row], to + i * kBlock);
    for (; i + 3 <= count; i += 3) table_tile<3>(matrix, first + i, tables, x.steps[row], to + i * kBlock);
    for (; i < count; ++i) table_tile<1>(matrix, first + i, tables, x.steps[row], to + i * kBlock);
  }
}

// Where the 128 places of a table (125 are used) find their digits' multiples, as bytes of a 128-bit lane that holds
// {-2a, -a, 0, a, 2a, 0, 0, 0} in 16 bits each. Vectors 2 · h and 2 · h + 1 hold places 64 · h …, 8 of the one after 8
// of the other, so that packing their words to bytes gives them in order.
struct DigitPlaces {
  alignas(64) std::uint8_t byte[3][4][64];
  constexpr DigitPlaces() : byte() {
    for (int vector = 0; vector < 4; ++vector)
      for (int word = 0; word < 32; ++word) {
        const int place = 64 * (vector / 2) + 16 * (word / 8) + 8 * (vector % 2) + word % 8;
        const int value = place < 125 ? place : 0;
        const int digits[3] = {value % 5, value / 5 % 5, value / 25};
        for (int d = 0; d < 3; ++d) {
          byte[d][vector][2 * word] = static_cast<std::uint8_t>(2 * digits[d]);
          byte[d][vector][2 * word + 1] = static_cast<std::uint8_t>(2 * digits[d] + 1);
        }
      }
  }
};
constexpr DigitPlaces kPlaces;

// {-2a, -a, 0, a, 2a, 0, 0, 0} in every 128-bit lane, without a multiplication.
PAR5_VNNI_INLINE __m512i five_multiples(std::int8_t activation) {
  const auto a = static_cast<short>(activation), twice = static_cast<short>(a + a);
  return _mm512_broadcast_i32x4(
      _mm_setr_epi16(static_cast<short>(-twice), static_cast<short>(-a), 0, a, twice, 0, 0, 0));
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

Kernels avx2() { return {Packing::bits, Packing::bits, avx2_product}; }
Kernels avx512_vnni() { return {Packing::base5, Packing::base5, vnni_product}; }
Kernels avx512_table() { return {Packing::base5, Packing::columns, table_product}; }

PAR5_VNNI void build_tables(const std::int8_t* activations, std::size_t lines, std::uint32_t* tables) {
  const __m512i six_bits = _mm512_set1_epi16(63);
  for (std::size_t line = 0; line < lines; ++line, activations += 3, tables += kTableWords) {
    const __m512i first = five_multiples(activations[0]), second = five_multiples(activations[1]),
                  third = five_multiples(activations[2]);
    __m512i sums[4];
#pragma GCC unroll 4
    for (std::size_t i = 0; i < 4; ++i) {
      const __m512i low = _mm512_shuffle_epi8(first, _mm512_load_si512(kPlaces.byte[0][i]));
      const __m512i middle = _mm512_shuffle_epi8(second, _mm512_load_si512(kPlaces.byte[1][i]));
      const __m512i high = _mm512_shuffle_epi8(third, _mm512_load_si512(kPlaces.byte[2][i]));
      sums[i] = _mm512_add_epi16(_mm512_add_epi16(low, middle), high);
    }
#pragma GCC unroll 2
    for (std::size_t half = 0; half < 2; ++half) {
      const __m512i a = sums[2 * half], b = sums[2 * half + 1];
      _mm512_store_si512(tables + 16 * half,
                         _mm512_packus_epi16(_mm512_and_si512(a, six_bits), _mm512_and_si512(b, six_bits)));
      _mm512_store_si512(tables + 32 + 16 * half, _mm512_packs_epi16(_mm512_srai_epi16(a, 6), _mm512_srai_epi16(b, 6)));
    }
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
