// int8 products with AVX-512 VBMI and VNNI.
#include <algorithm>

#include "core/intrinsics.h"
#include "engine/elementary.h"
#include "engine/kernels_integer.h"

namespace par5::integer {

#if defined(__x86_64__)

namespace {

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

using Sums = WordSums;

PAR5_VNNI_INLINE Sums all(std::int32_t value) { return reinterpret_cast<Sums>(_mm512_set1_epi32(value)); }
PAR5_VNNI_INLINE __m512 to_floats(Sums sums) { return _mm512_cvtepi32_ps(reinterpret_cast<__m512i>(sums)); }

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
    Sums sums[kRows][kPanels];
#pragma GCC unroll 8
    for (std::size_t r = 0; r < kRows; ++r)
#pragma GCC unroll 4
      for (std::size_t p = 0; p < kPanels; ++p) sums[r][p] = all(x.starts[(row + r) * matrix.groups + group]);
    for (std::size_t line = 0; line < line_count; ++line) {
      __m512i codes[kPanels];
#pragma GCC unroll 4
      for (std::size_t p = 0; p < kPanels; ++p) {
        codes[p] = _mm512_load_si512(words + p * panel_words);
        // A panel is too short for the processor to foresee the next block's.
        _mm_prefetch(reinterpret_cast<const char*>(words + (p + kPanelsPerBlock) * panel_words), _MM_HINT_T0);
      }
#pragma GCC unroll 4
      for (std::size_t f = 0; f < kFields; ++f) {
        __m512i weights[kPanels];
#pragma GCC unroll 4
        for (std::size_t p = 0; p < kPanels; ++p) weights[p] = fields.field(codes[p], f);
#pragma GCC unroll 8
        for (std::size_t r = 0; r < kRows; ++r) {
          const __m512i bytes = broadcast(activations + r * row_words + f);
#pragma GCC unroll 4
          for (std::size_t p = 0; p < kPanels; ++p) sums[r][p] = dot(sums[r][p], weights[p], bytes);
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
        totals[r][p] = _mm512_fmadd_ps(to_floats(sums[r][p]), scale, totals[r][p]);
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
constexpr std::size_t kManyRows = 12, kMostApart = 64 * 1024;

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
PAR5_VNNI void apart_tile(const PackedMatrix& matrix, std::size_t block, std::size_t group, std::size_t steps,
                          const std::uint8_t* codes, const QuantizedRows& x, std::size_t row, float* out,
                          std::size_t out_stride) {
  const std::size_t row_words = matrix.groups * steps;
  const std::uint32_t* activations = x.words + row * row_words + group * steps;
  Sums sums[kRows][kPanelsPerBlock];
#pragma GCC unroll 8
  for (std::size_t r = 0; r < kRows; ++r)
#pragma GCC unroll 4
    for (std::size_t p = 0; p < kPanelsPerBlock; ++p) sums[r][p] = all(x.starts[(row + r) * matrix.groups + group]);
  for (std::size_t step = 0; step < steps; ++step, codes += kPanelsPerBlock * 64) {
    __m512i weights[kPanelsPerBlock];
#pragma GCC unroll 4
    for (std::size_t p = 0; p < kPanelsPerBlock; ++p) weights[p] = _mm512_load_si512(codes + p * 64);
#pragma GCC unroll 8
    for (std::size_t r = 0; r < kRows; ++r) {
      const __m512i bytes = broadcast(activations + r * row_words + step);
#pragma GCC unroll 4
      for (std::size_t p = 0; p < kPanelsPerBlock; ++p) sums[r][p] = dot(sums[r][p], weights[p], bytes);
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
      const __m512 total = _mm512_fmadd_ps(to_floats(sums[r][p]), scale, before);
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
    for (std::size_t row = 0; row < x.rows;) {
      const std::size_t left = x.rows - row;
      if (left >= 6 && left != 8) {
        apart_tile<6>(matrix, block, group, steps, codes, x, row, out, out_stride);
        row += 6;
      } else if (left >= 4) {
        apart_tile<4>(matrix, block, group, steps, codes, x, row, out, out_stride);
        row += 4;
      } else {
        apart_tile<1>(matrix, block, group, steps, codes, x, row, out, out_stride);
        row += 1;
      }
    }
  }
}

template <class Fields>
PAR5_VNNI void vnni_rows(const PackedMatrix& matrix, std::size_t block, const QuantizedRows& x, float* out,
                         std::size_t out_stride) {
  if (x.rows >= kManyRows && matrix.lines * Fields::kFields * kPanelsPerBlock * 64 <= kMostApart)
    return apart_rows<Fields>(matrix, block, x, out, out_stride);
  const std::size_t panel = block * kPanelsPerBlock;
  std::size_t row = 0;
  for (; row + 8 <= x.rows; row += 8)
    for (std::size_t p = 0; p < kPanelsPerBlock; p += 2)
      vnni_tile<Fields, 8, 2>(matrix, panel + p, x, row, out + p * kPanel, out_stride);
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

// Four lines of base5 are 48 inputs, three vectors. Where their bytes come from among the vectors' lowest bytes: in a
// line, the first inputs of its four bytes, then the second ones, then the third.
struct Base5Order {
  alignas(64) std::uint8_t first[64] = {}, second[64] = {};  // of vectors 0 and 1; of those bytes and vector 2
  constexpr Base5Order() {
    for (int at = 0; at < 48; ++at) {
      const int input = at / 12 * 12 + at % 4 * 3 + at % 12 / 4;
      first[at] = static_cast<std::uint8_t>(input < 32 ? 4 * input : 0);
      second[at] = static_cast<std::uint8_t>(input < 32 ? at : 64 + 4 * (input - 32));
    }
  }
};
constexpr Base5Order kOrder;

}  // namespace

Kernels avx512_vnni() { return {Packing::base5, Packing::base5, true, vnni_product}; }

PAR5_VNNI void quantize_base5(const float* x, const PackedMatrix& matrix, bool usable, float factor, QuantizedRow out) {
  constexpr std::size_t kStep = 48;
  const __m512i first = _mm512_load_si512(kOrder.first), second = _mm512_load_si512(kOrder.second);
  const __m512 factors = _mm512_set1_ps(usable ? factor : 0.0f), rounder = _mm512_set1_ps(exact::kRounder);
  auto* to = reinterpret_cast<std::int8_t*>(out.words);
  for (std::size_t group = 0; group < matrix.groups; ++group) {
    const float* values = x + group * matrix.group;
    const std::size_t padded = matrix.lines * 12;
    const std::size_t count = usable ? std::min(matrix.group, matrix.inputs - group * matrix.group) : 0;
    Sums sums = all(0);
    for (std::size_t i = 0; i < padded; i += kStep) {
      __m512i codes[3];
#pragma GCC unroll 3
      for (std::size_t v = 0; v < 3; ++v) {
        const std::size_t at = i + 16 * v, left = at < count ? count - at : 0;
        const auto there = static_cast<__mmask16>(left >= 16 ? 0xffffu : (1u << left) - 1u);
        // The rounder's lowest byte is 0, so the sum's is the integer.
        const __m512 product = _mm512_mul_ps(_mm512_maskz_loadu_ps(there, values + at), factors);
        codes[v] = _mm512_castps_si512(_mm512_add_ps(product, rounder));
      }
      const __m512i bytes =
          _mm512_permutex2var_epi8(_mm512_permutex2var_epi8(codes[0], first, codes[1]), second, codes[2]);
      const std::size_t taken = std::min(kStep, padded - i);
      const __mmask64 mask = (__mmask64{1} << taken) - 1;
      sums = dot(sums, _mm512_maskz_set1_epi8(mask, 1), bytes);
      _mm512_mask_storeu_epi8(to, mask, bytes);
      to += taken;
    }
    std::int32_t sum = 0;
    for (std::size_t lane = 0; lane < 16; ++lane) sum += sums[lane];
    out.starts[group] = -matrix.offset * sum;
  }
}

#else

Kernels avx512_vnni() { return portable(); }
void quantize_base5(const float*, const PackedMatrix&, bool, float, QuantizedRow) {}

#endif

}  // namespace par5::integer
