// int8 products with AVX-512 VBMI and no multiplication inside a group's sum.
#include <algorithm>

#include "core/intrinsics.h"
#include "engine/kernels_integer.h"

namespace par5::integer {

#if defined(__x86_64__)

namespace {

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

// Many rows: 32 of them share a line's table, which has the 16-bit sums of all 32 for every base-5 byte. So one
// addition serves 3 inputs of 32 rows, without a shuffle, and a table serves all outputs. The tables of 4 lines stay in
// the first-level cache; 16 bits hold 43 lines.
constexpr std::size_t kRowsTogether = 32, kLinesTogether = 4, kSharedLinesIn16Bits = 32;
// Outputs that share a table: their sums stay in the second-level cache.
constexpr std::size_t kSharedBlocks = 18;

using SharedTable = std::int16_t[128][kRowsTogether];

// The sums of 32 rows by columns of blocks, as a line has them: [block][column][row].
struct SharedSums {
  AlignedVector<std::int16_t> narrow;
  AlignedVector<std::int32_t> wide;
  AlignedVector<float> totals;
};

// `rows` are where the rows begin, in words from `line`, 16 and 16.
PAR5_VNNI void build_shared_table(const std::uint32_t* line, const __m512i* rows, SharedTable& table) {
  const __m512i words[2] = {_mm512_i32gather_epi32(rows[0], line, 4), _mm512_i32gather_epi32(rows[1], line, 4)};
  __m512i multiples[3][5];
#pragma GCC unroll 3
  for (unsigned d = 0; d < 3; ++d) {
    __m256i halves[2];
#pragma GCC unroll 2
    for (int h = 0; h < 2; ++h)
      halves[h] = _mm512_cvtepi32_epi16(_mm512_srai_epi32(_mm512_slli_epi32(words[h], 24 - 8 * d), 24));
    const __m512i a = _mm512_inserti64x4(_mm512_castsi256_si512(halves[0]), halves[1], 1);
    const __m512i zero = _mm512_setzero_si512(), twice = _mm512_add_epi16(a, a);
    multiples[d][0] = _mm512_sub_epi16(zero, twice);
    multiples[d][1] = _mm512_sub_epi16(zero, a);
    multiples[d][2] = zero;
    multiples[d][3] = a;
    multiples[d][4] = twice;
  }
  std::int16_t* to = table[0];
  for (std::size_t high = 0; high < 5; ++high)
    for (std::size_t middle = 0; middle < 5; ++middle) {
      const __m512i sum = _mm512_add_epi16(multiples[2][high], multiples[1][middle]);
#pragma GCC unroll 5
      for (std::size_t low = 0; low < 5; ++low, to += kRowsTogether)
        _mm512_store_si512(to, _mm512_add_epi16(sum, multiples[0][low]));
    }
}

// kLines lines of `count` blocks, from `line` of all, into the 16-bit sums.
template <std::size_t kLines>
PAR5_VNNI void add_shared(const PackedMatrix& matrix, std::size_t first, std::size_t count, std::size_t line,
                          const SharedTable* tables, bool start, std::int16_t* sums) {
  for (std::size_t block = first; block < first + count; ++block) {
    const auto* codes = reinterpret_cast<const std::uint8_t*>(matrix.column_words(block) + line * kPanel);
    for (std::size_t column = 0; column < kBlock; ++column, sums += kRowsTogether) {
      __m512i sum = start ? _mm512_setzero_si512() : _mm512_load_si512(sums);
#pragma GCC unroll 4
      for (std::size_t l = 0; l < kLines; ++l)
        sum = _mm512_add_epi16(sum, _mm512_load_si512(tables[l][codes[l * kBlock + column]]));
      _mm512_store_si512(sums, sum);
    }
  }
}

// The 16-bit sums go into the 32-bit ones and, at a group's end, these into the totals.
PAR5_VNNI void widen_shared(const PackedMatrix& matrix, std::size_t first, std::size_t count, std::size_t group,
                            bool start, bool end, SharedSums& sums) {
  for (std::size_t output = 0; output < count * kBlock; ++output) {
    const std::size_t at = (output / kBlock * kBlock + column_of_output(output % kBlock)) * kRowsTogether;
    const float scale = matrix.panel_scales((first * kBlock + output) / kPanel)[group * kPanel + output % kPanel];
#pragma GCC unroll 2
    for (std::size_t half = 0; half < 2; ++half) {
      const std::size_t from = at + 16 * half;
      __m512i sum =
          _mm512_cvtepi16_epi32(_mm256_load_si256(reinterpret_cast<const __m256i*>(sums.narrow.data() + from)));
      if (!start) sum = _mm512_add_epi32(sum, _mm512_load_si512(sums.wide.data() + from));
      if (!end) {
        _mm512_store_si512(sums.wide.data() + from, sum);
        continue;
      }
      float* total = sums.totals.data() + from;
      const __m512 before = group == 0 ? _mm512_setzero_ps() : _mm512_load_ps(total);
      _mm512_store_ps(total, _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum), _mm512_set1_ps(scale), before));
    }
  }
}

// Where the lanes of a pair of vectors come from when the square of vectors and lanes is mirrored, bit by bit of both
// numbers: [bit][first or second of the pair].
struct Mirror {
  alignas(64) std::int32_t lane[4][2][16];
  constexpr Mirror() : lane() {
    for (int bit = 0; bit < 4; ++bit)
      for (int l = 0; l < 16; ++l) {
        const int step = 1 << bit;
        lane[bit][0][l] = l & step ? 16 + l - step : l;
        lane[bit][1][l] = l & step ? 16 + l : l + step;
      }
  }
};
constexpr Mirror kMirror;

// 16 outputs of 16 rows: totals times steps, as rows of outputs; the first `rows` of them.
PAR5_VNNI void store_shared(const float* totals, std::size_t first_output, __m512 steps, std::size_t rows, float* out,
                            std::size_t out_stride) {
  __m512 v[16];
#pragma GCC unroll 16
  for (std::size_t j = 0; j < 16; ++j)
    v[j] = _mm512_mul_ps(_mm512_load_ps(totals + column_of_output(first_output + j) * kRowsTogether), steps);
#pragma GCC unroll 4
  for (std::size_t bit = 0; bit < 4; ++bit) {
    const __m512i one = _mm512_load_si512(kMirror.lane[bit][0]), two = _mm512_load_si512(kMirror.lane[bit][1]);
#pragma GCC unroll 16
    for (std::size_t j = 0; j < 16; ++j) {
      if (j >> bit & 1) continue;
      const __m512 a = v[j], b = v[j | std::size_t{1} << bit];
      v[j] = _mm512_permutex2var_ps(a, one, b);
      v[j | std::size_t{1} << bit] = _mm512_permutex2var_ps(a, two, b);
    }
  }
#pragma GCC unroll 16
  for (std::size_t row = 0; row < 16; ++row)
    if (row < rows) _mm512_storeu_ps(out + row * out_stride, v[row]);
}

// Up to 32 rows from `row` by `count` blocks.
PAR5_VNNI void shared_tile(const PackedMatrix& matrix, std::size_t first, std::size_t count, const QuantizedRows& x,
                           std::size_t row, float* out, std::size_t out_stride) {
  static thread_local SharedSums sums;
  alignas(64) static thread_local SharedTable tables[kLinesTogether];
  const std::size_t size = count * kBlock * kRowsTogether;
  if (sums.narrow.size() < size) {
    sums.narrow.resize(size);
    sums.wide.resize(size);
    sums.totals.resize(size);
  }
  const std::size_t row_words = activation_words(matrix, x.rows), rows = std::min(kRowsTogether, x.rows - row);
  alignas(64) std::int32_t starts[kRowsTogether];
  alignas(64) float steps[kRowsTogether];
  for (std::size_t r = 0; r < kRowsTogether; ++r) {  // behind the last row, the last again
    starts[r] = static_cast<std::int32_t>(std::min(r, rows - 1) * row_words);
    steps[r] = x.steps[row + std::min(r, rows - 1)];
  }
  const __m512i row_starts[2] = {_mm512_load_si512(starts), _mm512_load_si512(starts + 16)};
  for (std::size_t group = 0; group < matrix.groups; ++group)
    for (std::size_t line = 0; line < matrix.lines;) {
      const std::size_t begin = line, flush = std::min(matrix.lines, line + kSharedLinesIn16Bits);
      while (line < flush) {
        const std::size_t taken = std::min(kLinesTogether, flush - line), at = group * matrix.lines + line;
        for (std::size_t l = 0; l < taken; ++l)
          build_shared_table(x.words + row * row_words + at + l, row_starts, tables[l]);
        const auto add = taken == 4   ? add_shared<4>
                         : taken == 3 ? add_shared<3>
                         : taken == 2 ? add_shared<2>
                                      : add_shared<1>;
        add(matrix, first, count, at, tables, line == begin, sums.narrow.data());
        line += taken;
      }
      widen_shared(matrix, first, count, group, begin == 0, line == matrix.lines, sums);
    }
  for (std::size_t block = 0; block < count; ++block)
    for (std::size_t output = 0; output < kBlock; output += 16)
      for (std::size_t half = 0; half < 2 && 16 * half < rows; ++half)
        store_shared(sums.totals.data() + block * kBlock * kRowsTogether + 16 * half, output,
                     _mm512_load_ps(steps + 16 * half), rows - 16 * half,
                     out + (row + 16 * half) * out_stride + block * kBlock + output, out_stride);
}

void table_product(const PackedMatrix& matrix, std::size_t first, std::size_t count, const QuantizedRows& x, float* out,
                   std::size_t out_stride) {
  if (matrix.format != PackedFormat::columns) return avx512_vnni().product(matrix, first, count, x, out, out_stride);
  if (x.rows >= kSharedRows) {
    for (std::size_t i = 0; i < count; i += kSharedBlocks)
      for (std::size_t row = 0; row < x.rows; row += kRowsTogether)
        shared_tile(matrix, first + i, std::min(kSharedBlocks, count - i), x, row, out + i * kBlock, out_stride);
    return;
  }
  const std::size_t words = activation_words(matrix, x.rows);
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

}  // namespace

Kernels avx512_table() { return {Packing::base5, Packing::columns, true, table_product}; }

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

#else

Kernels avx512_table() { return portable(); }
void build_tables(const std::int8_t*, std::size_t, std::uint32_t*) {}

#endif

}  // namespace par5::integer
