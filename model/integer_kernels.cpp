#include "model/integer_kernels.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <optional>
#include <vector>

#include "core/intrinsics.h"
#include "model/integer_rounding.h"
#include "model/word_transpose.h"

namespace par5::kernels {

namespace {
bool only_portable = false;
}
bool has_fast_integer_products() {
  static const bool present = cpu_has_avx512_vnni();
  return present;
}
void force_portable_integer_products(bool portable) { only_portable = portable; }
bool takes_fast_integer_products() { return has_fast_integer_products() && !only_portable; }

namespace {

constexpr int kRowSteps = 127;
constexpr int kOffset = 128;
constexpr std::size_t kWords = IntegerRows::kBlock;  // columns that are rounded together
constexpr int kTileRows = 6;                         // times four vectors of 16 columns: 24 of 32 registers hold sums
// Where the dither of a value is: 2^32 times its place in the sequence, modulo 2^32.
constexpr std::uint32_t kDitherDown = 3242174889, kDitherAcross = 2447445414;
constexpr float kDitherStep = 0x1p-32f;

// Codes of n values; gives their sum. With dither, that of the first value is at `phase`.
template <bool kDithered>
std::int32_t round_codes_portable(const float* x, const float* factors, std::size_t n, float reciprocal,
                                  std::uint32_t phase, std::int8_t* codes) {
  std::int32_t sum = 0;
  for (std::size_t i = 0; i < n; ++i) {
    const float value = reciprocal == 0 ? 0 : scaled(x, factors, i) * reciprocal;
    const auto place = static_cast<std::int32_t>(phase + static_cast<std::uint32_t>(i) * kDitherAcross);
    const float moved = kDithered ? value + static_cast<float>(place) * kDitherStep : value;
    codes[i] = static_cast<std::int8_t>(std::clamp(std::nearbyint(moved), -128.0f, 127.0f));
    sum += codes[i];
  }
  return sum;
}

// n rows of up to 64 neighbouring columns of x, times the rows' factors, as a group of a panel: codes plus 128 in quads
// of rows, those beyond n being 0, and a scale for every column.
void round_panel_portable(const float* x, std::size_t stride, std::size_t n, std::size_t columns, const float* factors,
                          std::uint8_t* out, float* scales) {
  for (std::size_t c = 0; c < columns; ++c) {
    std::uint32_t largest = 0;
    for (std::size_t i = 0; i < n; ++i) largest = std::max(largest, magnitude(x[i * stride + c] * factors[i]));
    const Scale scale = scale_of(std::bit_cast<float>(largest), kRowSteps);
    scales[c] = scale.step;
    for (std::size_t i = 0; i < (n + 3) / 4 * 4; ++i) {
      const bool there = i < n && scale.reciprocal != 0;
      const float code = there ? std::nearbyint(x[i * stride + c] * factors[i] * scale.reciprocal) : 0.0f;
      out[(i / 4 * kPanelColumns + c) * 4 + i % 4] = static_cast<std::uint8_t>(static_cast<int>(code) + kOffset);
    }
  }
}

// n rows of 16 neighbouring columns of codes in quads of rows, zeros beyond: plus `offset`, and with `out_stride` from
// quad to quad. Adds the columns' sums, without offsets.
void interleave_portable(const std::int8_t* codes, std::size_t stride, std::size_t n, int offset, std::uint8_t* out,
                         std::size_t out_stride, std::int32_t* sums) {
  for (std::size_t c = 0; c < kWords; ++c)
    for (std::size_t i = 0; i < (n + 3) / 4 * 4; ++i) {
      const int code = i < n ? codes[i * stride + c] : 0;
      out[i / 4 * out_stride + c * 4 + i % 4] = static_cast<std::uint8_t>(code + offset);
      sums[c] += code;
    }
}

void tile_portable(const IntegerRows& rows, const PackedPanels& packed, float* out, std::size_t stride, std::size_t row,
                   std::size_t count, std::size_t panel) {
  const InnerGroups& inner = packed.inner;
  const std::size_t first = panel * kPanelColumns, columns = std::min(kPanelColumns, packed.columns - first);
  const std::uint8_t* const codes = packed.codes + panel * inner.padded() * kPanelColumns;
  for (std::size_t r = row; r < row + count; ++r)
    for (std::size_t c = 0; c < columns; ++c) {
      float total = 0;
      for (std::size_t g = 0; g < inner.count(); ++g) {
        std::int32_t sum = -kOffset * rows.sums[r * inner.count() + g];
        for (std::size_t k = inner.place(g); k < inner.place(g) + inner.quads(g) * 4; ++k)
          sum += rows.row(r)[k / 4 * rows.quad_stride() + k % 4] * codes[(k / 4 * kPanelColumns + c) * 4 + k % 4];
        const float scale = packed.scales ? packed.scales[g * packed.columns + first + c] : 1;
        total = std::fma(static_cast<float>(sum), scale, total);
      }
      out[r * stride + first + c] = rows.scales ? total * rows.scales[r] : total;
    }
}

#if defined(__x86_64__)
constexpr std::size_t kVectors = kPanelColumns / kLanes;

template <bool kDithered>
PAR5_VNNI std::int32_t round_codes_vnni(const float* x, const float* factors, std::size_t n, float reciprocal,
                                        std::uint32_t phase, std::int8_t* codes) {
  WordSums sum = {};
  __m512i place =
      _mm512_add_epi32(_mm512_set1_epi32(static_cast<int>(phase)),
                       _mm512_mullo_epi32(_mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
                                          _mm512_set1_epi32(static_cast<int>(kDitherAcross))));
  const __m512i ahead = _mm512_set1_epi32(static_cast<int>(kDitherAcross * std::uint32_t{kLanes}));
  const __m512 factor = _mm512_set1_ps(reciprocal);
  const __mmask16 any = reciprocal == 0 ? __mmask16(0) : __mmask16(0xffff);
  // Packing works within quarters of vectors: their words come out as 0, 4, 8, 12, 1, 5 …
  const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  for (std::size_t i = 0; i < n; i += kVectors * kLanes) {
    __m512i words[kVectors];
#pragma GCC unroll 4
    for (std::size_t v = 0; v < kVectors; ++v) {
      const std::size_t at = i + v * kLanes;
      const __mmask16 mask = at >= n ? __mmask16(0) : any & first_lanes(n - at);
      __m512 value = _mm512_mul_ps(load_scaled(x, factors, at, mask), factor);
      if constexpr (kDithered) {
        value = _mm512_add_ps(value, _mm512_mul_ps(_mm512_cvtepi32_ps(place), _mm512_set1_ps(kDitherStep)));
        value = _mm512_maskz_mov_ps(mask, value);
        place = _mm512_add_epi32(place, ahead);
      }
      words[v] = _mm512_cvtps_epi32(value);
    }
    const __m512i packed = _mm512_permutexvar_epi32(
        order, _mm512_packs_epi16(_mm512_packs_epi32(words[0], words[1]), _mm512_packs_epi32(words[2], words[3])));
    sum = dot(sum, _mm512_set1_epi8(1), packed);
    const std::size_t left = n - i;
    if (left >= 4 * kLanes)
      _mm512_storeu_si512(codes + i, packed);
    else
      _mm512_mask_storeu_epi8(codes + i, (__mmask64{1} << left) - 1, packed);
  }
  return _mm512_reduce_add_epi32(reinterpret_cast<__m512i>(sum));
}

PAR5_VNNI void round_panel_vnni(const float* x, std::size_t stride, std::size_t n, std::size_t columns,
                                const float* factors, std::uint8_t* out, float* scales) {
  const __m512i all_but_sign = _mm512_set1_epi32(0x7fffffff), low = _mm512_set1_epi32(0xff);
  __mmask16 there[kVectors];
  __m512i bits[kVectors];
#pragma GCC unroll 4
  for (std::size_t v = 0; v < kVectors; ++v) {
    there[v] = v * kLanes < columns ? first_lanes(columns - v * kLanes) : __mmask16(0);
    bits[v] = _mm512_setzero_si512();
  }
  for (std::size_t i = 0; i < n; ++i) {
    const __m512 factor = _mm512_set1_ps(factors[i]);
#pragma GCC unroll 4
    for (std::size_t v = 0; v < kVectors; ++v) {
      const __m512 value = _mm512_mul_ps(_mm512_maskz_loadu_ps(there[v], x + i * stride + v * kLanes), factor);
      bits[v] = _mm512_max_epu32(bits[v], _mm512_and_si512(_mm512_castps_si512(value), all_but_sign));
    }
  }
  const __m512 steps = _mm512_set1_ps(kRowSteps);
  __m512 reciprocal[kVectors];
  __mmask16 rounded[kVectors];
#pragma GCC unroll 4
  for (std::size_t v = 0; v < kVectors; ++v) {
    // As scale_of does it.
    const __m512 largest = _mm512_castsi512_ps(bits[v]);
    const __mmask16 some = _mm512_cmp_ps_mask(largest, _mm512_set1_ps(kSmallest), _CMP_NLT_UQ);
    rounded[v] = some & there[v] & _mm512_cmplt_epu32_mask(bits[v], _mm512_set1_epi32(0x7f800000));
    _mm512_mask_storeu_ps(scales + v * kLanes, there[v], _mm512_maskz_div_ps(some, largest, steps));
    reciprocal[v] = _mm512_maskz_div_ps(rounded[v], steps, largest);
  }
  for (std::size_t i = 0; i < n; i += 4, out += 4 * kPanelColumns) {
    __m512i quad[kVectors] = {};
#pragma GCC unroll 4
    for (std::size_t j = 0; j < 4; ++j) {
      if (i + j >= n) break;
      const __m512 factor = _mm512_set1_ps(factors[i + j]);
#pragma GCC unroll 4
      for (std::size_t v = 0; v < kVectors; ++v) {
        const __m512 value =
            _mm512_mul_ps(_mm512_maskz_loadu_ps(rounded[v], x + (i + j) * stride + v * kLanes), factor);
        const __m512i code = _mm512_cvtps_epi32(_mm512_mul_ps(value, reciprocal[v]));
        quad[v] =
            _mm512_or_si512(quad[v], _mm512_slli_epi32(_mm512_and_si512(code, low), static_cast<unsigned>(8 * j)));
      }
    }
#pragma GCC unroll 4
    for (std::size_t v = 0; v < kVectors; ++v)
      _mm512_mask_storeu_epi32(out + v * 4 * kLanes, there[v],
                               _mm512_add_epi8(quad[v], _mm512_set1_epi8(static_cast<char>(kOffset))));
  }
}

PAR5_VNNI void interleave_vnni(const std::int8_t* codes, std::size_t stride, std::size_t n, int offset,
                               std::uint8_t* out, std::size_t out_stride, std::int32_t* sums) {
  const auto row = [&](std::size_t i) __attribute__((target(PAR5_TARGET_VNNI))) {
    return i < n ? _mm_loadu_si128(reinterpret_cast<const __m128i*>(codes + i * stride)) : _mm_setzero_si128();
  };
  WordSums total;
  std::memcpy(&total, sums, sizeof(total));
  for (std::size_t i = 0; i < n; i += 4, out += out_stride) {
    const __m128i a = row(i), b = row(i + 1), c = row(i + 2), d = row(i + 3);
    const __m128i ab_low = _mm_unpacklo_epi8(a, b), ab_high = _mm_unpackhi_epi8(a, b), cd_low = _mm_unpacklo_epi8(c, d),
                  cd_high = _mm_unpackhi_epi8(c, d);
    __m512i quads = _mm512_castsi128_si512(_mm_unpacklo_epi16(ab_low, cd_low));
    quads = _mm512_inserti32x4(quads, _mm_unpackhi_epi16(ab_low, cd_low), 1);
    quads = _mm512_inserti32x4(quads, _mm_unpacklo_epi16(ab_high, cd_high), 2);
    quads = _mm512_inserti32x4(quads, _mm_unpackhi_epi16(ab_high, cd_high), 3);
    _mm512_storeu_si512(out, _mm512_add_epi8(quads, _mm512_set1_epi8(static_cast<char>(offset))));
    total = dot(total, _mm512_set1_epi8(1), quads);
  }
  std::memcpy(sums, &total, sizeof(total));
}

template <int kRows>
PAR5_VNNI void tile_rows(const IntegerRows& rows, const PackedPanels& packed, float* out, std::size_t stride,
                         std::size_t row, std::size_t panel) {
  const InnerGroups& inner = packed.inner;
  const std::size_t first = panel * kPanelColumns, columns = std::min(kPanelColumns, packed.columns - first);
  const std::uint8_t* weights = packed.codes + panel * inner.padded() * kPanelColumns;
  const std::int8_t* codes = rows.row(row);
  const std::size_t row_stride = rows.interleaved ? 4 : inner.padded(), quad_stride = rows.quad_stride();
  __mmask16 there[kVectors];
#pragma GCC unroll 4
  for (std::size_t v = 0; v < kVectors; ++v)
    there[v] = v * kLanes < columns ? first_lanes(columns - v * kLanes) : __mmask16(0);
  // What is written lies in lines far apart that the hardware does not foresee.
  for (std::size_t r = 0; r < kRows; ++r)
    for (std::size_t column = 0; column < columns; column += kLanes)
      _mm_prefetch(reinterpret_cast<const char*>(out + (row + r) * stride + first + column), _MM_HINT_T0);
  alignas(64) float totals[kRows][kPanelColumns] = {};
  for (std::size_t g = 0; g < inner.count(); ++g) {
    WordSums sums[kRows][kVectors];
#pragma GCC unroll 8
    for (std::size_t r = 0; r < kRows; ++r) {
      const __m512i offset = _mm512_set1_epi32(-kOffset * rows.sums[(row + r) * inner.count() + g]);
#pragma GCC unroll 4
      for (std::size_t v = 0; v < kVectors; ++v) sums[r][v] = reinterpret_cast<WordSums>(offset);
    }
    for (std::size_t quad = inner.quads(g); quad > 0; --quad, weights += 4 * kPanelColumns, codes += quad_stride) {
      __m512i column[kVectors];
#pragma GCC unroll 4
      for (std::size_t v = 0; v < kVectors; ++v) column[v] = _mm512_loadu_si512(weights + v * 4 * kLanes);
#pragma GCC unroll 8
      for (std::size_t r = 0; r < kRows; ++r) {
        std::int32_t word;
        std::memcpy(&word, codes + r * row_stride, sizeof(word));
        const __m512i four = _mm512_set1_epi32(word);
#pragma GCC unroll 4
        for (std::size_t v = 0; v < kVectors; ++v) sums[r][v] = dot(sums[r][v], column[v], four);
      }
    }
    __m512 scale[kVectors];
#pragma GCC unroll 4
    for (std::size_t v = 0; v < kVectors; ++v)
      scale[v] = packed.scales
                     ? _mm512_maskz_loadu_ps(there[v], packed.scales + g * packed.columns + first + v * kLanes)
                     : _mm512_set1_ps(1);
#pragma GCC unroll 8
    for (std::size_t r = 0; r < kRows; ++r)
#pragma GCC unroll 4
      for (std::size_t v = 0; v < kVectors; ++v) {
        float* const total = totals[r] + v * kLanes;
        const __m512 sum = _mm512_cvtepi32_ps(reinterpret_cast<__m512i>(sums[r][v]));
        _mm512_store_ps(total, _mm512_fmadd_ps(sum, scale[v], _mm512_load_ps(total)));
      }
  }
#pragma GCC unroll 8
  for (std::size_t r = 0; r < kRows; ++r) {
    const __m512 scale = _mm512_set1_ps(rows.scales ? rows.scales[row + r] : 1);
#pragma GCC unroll 4
    for (std::size_t v = 0; v < kVectors; ++v)
      _mm512_mask_storeu_ps(out + (row + r) * stride + first + v * kLanes, there[v],
                            _mm512_mul_ps(_mm512_load_ps(totals[r] + v * kLanes), scale));
  }
}

PAR5_VNNI void tile_vnni(const IntegerRows& rows, const PackedPanels& packed, float* out, std::size_t stride,
                         std::size_t row, std::size_t count, std::size_t panel) {
  switch (count) {
    case 1:
      return tile_rows<1>(rows, packed, out, stride, row, panel);
    case 2:
      return tile_rows<2>(rows, packed, out, stride, row, panel);
    case 3:
      return tile_rows<3>(rows, packed, out, stride, row, panel);
    case 4:
      return tile_rows<4>(rows, packed, out, stride, row, panel);
    case 5:
      return tile_rows<5>(rows, packed, out, stride, row, panel);
    default:
      return tile_rows<kTileRows>(rows, packed, out, stride, row, panel);
  }
}
#endif

struct Forms {
  float (*largest_magnitude)(const float*, const float*, std::size_t) = largest_magnitude_portable;
  std::int32_t (*round_codes)(const float*, const float*, std::size_t, float, std::uint32_t,
                              std::int8_t*) = round_codes_portable<false>;
  std::int32_t (*dither_codes)(const float*, const float*, std::size_t, float, std::uint32_t,
                               std::int8_t*) = round_codes_portable<true>;
  void (*round_panel)(const float*, std::size_t, std::size_t, std::size_t, const float*, std::uint8_t*,
                      float*) = round_panel_portable;
  void (*interleave)(const std::int8_t*, std::size_t, std::size_t, int, std::uint8_t*, std::size_t,
                     std::int32_t*) = interleave_portable;
  void (*tile)(const IntegerRows&, const PackedPanels&, float*, std::size_t, std::size_t, std::size_t,
               std::size_t) = tile_portable;
};

constexpr Forms kPortable;
const Forms& forms() {
#if defined(__x86_64__)
  static const Forms fast = {largest_magnitude_vnni, round_codes_vnni<false>, round_codes_vnni<true>,
                             round_panel_vnni,       interleave_vnni,         tile_vnni};
  if (takes_fast_integer_products()) return fast;
#endif
  return kPortable;
}

void quantize_rows_by(const float* x, const float* factors, const IntegerRows& rows, std::size_t begin, std::size_t end,
                      std::optional<std::size_t> dither) {
  const Forms& form = forms();
  const auto round = dither ? form.dither_codes : form.round_codes;
  const InnerGroups& inner = rows.inner;
  for (std::size_t row = begin; row < end; ++row) {
    const float* const values = x + row * inner.size;
    std::int8_t* const codes = rows.codes + row * inner.padded();
    const Scale scale = scale_of(form.largest_magnitude(values, factors, inner.size), kRowSteps);
    rows.scales[row] = scale.step;
    const auto down = static_cast<std::uint32_t>(dither.value_or(0) + row) * kDitherDown;
    for (std::size_t g = 0; g < inner.count(); ++g) {
      const std::size_t first = inner.first(g), count = inner.values(g);
      std::int8_t* const of_group = codes + inner.place(g);
      rows.sums[row * inner.count() + g] =
          round(values + first, factors ? factors + first : nullptr, count, scale.reciprocal,
                down + static_cast<std::uint32_t>(first) * kDitherAcross, of_group);
      std::fill(of_group + count, of_group + inner.quads(g) * 4, std::int8_t{0});
    }
  }
}

}  // namespace

void quantize_rows(const float* x, const float* factors, const IntegerRows& rows, std::size_t begin, std::size_t end) {
  quantize_rows_by(x, factors, rows, begin, end, std::nullopt);
}
void quantize_rows_dithered(const float* x, const float* factors, const IntegerRows& rows, std::size_t begin,
                            std::size_t end, std::size_t dither) {
  quantize_rows_by(x, factors, rows, begin, end, dither);
}

void interleave_columns(const IntegerRows& from, std::size_t first, std::size_t count, const IntegerRows& columns) {
  const Forms& form = forms();
  const InnerGroups &inner = columns.inner, &across = from.inner;
  std::vector<std::int8_t> room;
  for (std::size_t row = 0; row < count; row += kWords) {
    const std::size_t begin = first + row, of_block = std::min(kWords, count - row);
    // Where group and place in it lie among the padded codes of a row.
    const auto place = [&](std::size_t c) { return across.place(c / across.group) + c % across.group; };
    const bool together = of_block == kWords && place(begin) + kWords - 1 == place(begin + kWords - 1);
    if (!together) room.resize(inner.group * kWords);
    for (std::size_t g = 0; g < inner.count(); ++g) {
      const std::size_t n = inner.values(g);
      const std::int8_t* codes = from.row(inner.first(g)) + place(begin);
      std::size_t stride = across.padded();
      if (!together) {
        for (std::size_t i = 0; i < n; ++i)
          for (std::size_t c = 0; c < of_block; ++c)
            room[i * kWords + c] = from.row(inner.first(g) + i)[place(begin + c)];
        codes = room.data(), stride = kWords;
      }
      std::int32_t sums[kWords] = {};
      form.interleave(codes, stride, n, 0,
                      std::bit_cast<std::uint8_t*>(columns.codes) + row * inner.padded() + inner.place(g) * kWords,
                      kWords * 4, sums);
      for (std::size_t c = 0; c < of_block; ++c) columns.sums[(row + c) * inner.count() + g] = sums[c];
    }
  }
}

void quantize_matrix(const float* values, const IntegerMatrix& matrix, std::size_t begin, std::size_t end) {
  const Forms& form = forms();
  const InnerGroups& inputs = matrix.inputs;
  for (std::size_t row = begin; row < end; ++row)
    for (std::size_t g = 0; g < inputs.count(); ++g) {
      const std::size_t first = row * inputs.size + inputs.first(g), count = inputs.values(g);
      const Scale scale = scale_of(form.largest_magnitude(values + first, nullptr, count), matrix.steps);
      matrix.scales[g * matrix.outputs + row] = scale.step;
      form.round_codes(values + first, nullptr, count, scale.reciprocal, 0, matrix.codes + first);
    }
}

void pack_outputs(const IntegerMatrix& matrix, const PackedPanels& packed, std::size_t begin, std::size_t end) {
  const InnerGroups& inner = packed.inner;
  const std::size_t panel_bytes = inner.padded() * kPanelColumns;
  std::memset(packed.codes + begin * panel_bytes, 0, (end - begin) * panel_bytes);
  for (std::size_t panel = begin; panel < end; ++panel) {
    std::uint8_t* const codes = packed.codes + panel * panel_bytes;
    const std::size_t first = panel * kPanelColumns, columns = std::min(kPanelColumns, packed.columns - first);
    for (std::size_t g = 0; g < inner.count(); ++g) {
      const std::int8_t* const in = matrix.codes + first * inner.size + inner.first(g);
      std::uint8_t* const out = codes + inner.place(g) * kPanelColumns;
      // Whole quads move as words, where all rows have theirs in the same places of words.
      const std::size_t count = inner.values(g), words = inner.size % 4 == 0 ? count / 4 : 0;
      transpose_words(in, inner.size / 4, columns, words, out, kPanelColumns);
      for (std::size_t c = 0; c < columns; ++c)
        for (std::size_t k = words * 4; k < count; ++k)
          out[(k / 4 * kPanelColumns + c) * 4 + k % 4] = std::bit_cast<std::uint8_t>(in[c * inner.size + k]);
    }
    for (std::size_t i = 0; i < panel_bytes; ++i) codes[i] ^= kOffset;
  }
}

void pack_inputs(const IntegerMatrix& matrix, std::size_t group, const PackedPanels& packed, std::size_t panel) {
  const Forms& form = forms();
  const InnerGroups &inner = packed.inner, &inputs = matrix.inputs;
  std::uint8_t* const codes = packed.codes + panel * inner.padded() * kPanelColumns;
  const std::size_t first = panel * kPanelColumns, columns = std::min(kPanelColumns, packed.columns - first);
  std::vector<std::int8_t> room;
  for (std::size_t c = 0; c < kPanelColumns; c += kWords) {
    const std::int8_t* in = matrix.codes + inputs.first(group) + first + c;
    std::size_t stride = inputs.size;
    if (c + kWords > columns) {
      room.assign(inner.size * kWords, 0);
      for (std::size_t k = 0; c < columns && k < inner.size; ++k)
        std::copy(in + k * stride, in + k * stride + (columns - c),
                  room.begin() + static_cast<std::ptrdiff_t>(k * kWords));
      in = room.data(), stride = kWords;
    }
    std::int32_t sums[kWords] = {};
    form.interleave(in, stride, inner.size, kOffset, codes + c * 4, kPanelColumns * 4, sums);
  }
}

void quantize_panels(const float* values, const float* factors, const PackedPanels& packed, std::size_t group) {
  const Forms& form = forms();
  const InnerGroups& inner = packed.inner;
  for (std::size_t panel = 0; panel < packed.panels(); ++panel) {
    const std::size_t first = panel * kPanelColumns, columns = std::min(kPanelColumns, packed.columns - first);
    form.round_panel(values + first, packed.columns, inner.values(group), columns, factors,
                     packed.codes + (panel * inner.padded() + inner.place(group)) * kPanelColumns,
                     packed.scales + group * packed.columns + first);
  }
}

void integer_product(const IntegerRows& rows, const PackedPanels& packed, float* out, std::size_t stride,
                     std::size_t begin, std::size_t end) {
  // So many rows stay in the second-level cache while all panels pass over them.
  constexpr std::size_t kBlockRows = 22 * kTileRows;
  const Forms& form = forms();
  for (std::size_t block = begin; block < end; block += kBlockRows)
    for (std::size_t panel = 0; panel < packed.panels(); ++panel)
      for (std::size_t row = block, count; row < std::min(end, block + kBlockRows); row += count) {
        count = std::min<std::size_t>(kTileRows, end - row);
        if (rows.interleaved) count = std::min(count, IntegerRows::kBlock - row % IntegerRows::kBlock);
        form.tile(rows, packed, out, stride, row, count, panel);
      }
}

}  // namespace par5::kernels
