// Rounding to 8-bit codes, and packing them as products read them.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <vector>

#include "core/intrinsics.h"
#include "model/integer_kernels.h"
#include "model/integer_rounding.h"
#include "model/word_transpose.h"

namespace par5::kernels {
namespace {

constexpr int kRowSteps = 127;
constexpr std::size_t kWords = IntegerRows::kBlock;  // columns that are interleaved together

// Where the dither of a value is: 2^32 times its place in the sequence, modulo 2^32.
constexpr std::uint32_t kDitherDown = 3242174889, kDitherAcross = 2447445414;
constexpr float kDitherStep = 0x1p-32f;
std::uint32_t dither_offset(std::size_t row, std::size_t column) {
  return static_cast<std::uint32_t>(row) * kDitherDown + static_cast<std::uint32_t>(column) * kDitherAcross;
}
float dither_at(std::uint32_t place) { return static_cast<float>(static_cast<std::int32_t>(place)) * kDitherStep; }

// Codes of n values; gives their sum. With dither, that of the first value is at `phase`.
template <bool kDithered>
std::int32_t round_codes_portable(const float* x, const float* factors, std::size_t n, float reciprocal,
                                  std::uint32_t phase, std::int8_t* codes) {
  std::int32_t sum = 0;
  for (std::size_t i = 0; i < n; ++i) {
    const float value = reciprocal == 0 ? 0 : scaled(x, factors, i) * reciprocal;
    const float moved = kDithered ? value + dither_at(phase + dither_offset(0, i)) : value;
    codes[i] = static_cast<std::int8_t>(std::clamp(std::nearbyint(moved), -128.0f, 127.0f));
    sum += codes[i];
  }
  return sum;
}

// Rows [begin, end) of quantize_rows: largest(values) is a row's largest magnitude, round(values, factors, n,
// reciprocal, phase, codes) gives the sum of n codes.
template <class Largest, class Round>
__attribute__((always_inline)) inline void round_rows_by(const float* x, const float* factors, const IntegerRows& rows,
                                                         std::size_t begin, std::size_t end, std::size_t dither,
                                                         Largest&& largest, Round&& round) {
  const InnerGroups& inner = rows.inner;
  const std::size_t groups = inner.count(), padded = inner.padded();
  // The scales of some rows first: rounding need not wait for a row's divisions.
  constexpr std::size_t kRows = 16;
  for (std::size_t block = begin; block < end; block += kRows) {
    const std::size_t last = std::min(end, block + kRows);
    float reciprocals[kRows];
    for (std::size_t row = block; row < last; ++row) {
      const Scale scale = scale_of(largest(x + row * inner.size), kRowSteps);
      rows.scales[row] = scale.step, reciprocals[row - block] = scale.reciprocal;
    }
    for (std::size_t row = block; row < last; ++row) {
      for (std::size_t g = 0; g < groups; ++g) {
        const std::size_t first = inner.first(g), count = inner.values(g);
        std::int8_t* const codes = rows.codes + row * padded + inner.place(g);
        rows.sums[row * groups + g] = round(x + row * inner.size + first, factors ? factors + first : nullptr, count,
                                            reciprocals[row - block], dither_offset(dither + row, first), codes);
        for (std::size_t i = count; i < inner.quads(g) * 4; ++i) codes[i] = 0;
      }
    }
  }
}
template <bool kDithered>
void round_rows_portable(const float* x, const float* factors, const IntegerRows& rows, std::size_t begin,
                         std::size_t end, std::size_t dither) {
  const auto largest = [&](const float* values) {
    return largest_magnitude_portable(values, factors, rows.inner.size);
  };
  round_rows_by(x, factors, rows, begin, end, dither, largest, round_codes_portable<kDithered>);
}

// n rows of up to 64 neighbouring columns of x, times the rows' factors, as a group of a panel: codes plus 128 in quads
// of rows, those beyond n being 0, and a scale for every column. With dither, that of the first value is at `phase`.
template <bool kDithered>
void round_panel_portable(const float* x, std::size_t stride, std::size_t n, std::size_t columns, const float* factors,
                          std::uint32_t phase, std::uint8_t* out, float* scales) {
  for (std::size_t c = 0; c < columns; ++c) {
    std::uint32_t largest = 0;
    for (std::size_t i = 0; i < n; ++i) largest = std::max(largest, magnitude(x[i * stride + c] * factors[i]));
    const Scale scale = scale_of(std::bit_cast<float>(largest), kRowSteps);
    scales[c] = scale.step;
    for (std::size_t i = 0; i < (n + 3) / 4 * 4; ++i) {
      const bool there = i < n && scale.reciprocal != 0;
      float value = there ? x[i * stride + c] * factors[i] * scale.reciprocal : 0.0f;
      if (kDithered && there) value += dither_at(phase + dither_offset(i, c));
      out[(i / 4 * kPanelColumns + c) * 4 + i % 4] =
          static_cast<std::uint8_t>(std::min(static_cast<int>(std::nearbyint(value)), kRowSteps) + kCodeOffset);
    }
  }
}

// Where the columns of codes go in quads of rows: blocks of 16 columns, and so many bytes from quad to quad and from
// block to block. `offset` is added to every code.
struct Interleaved {
  std::uint8_t* codes = nullptr;
  std::size_t quad_stride = 0, block_stride = 0;
  int offset = 0;
};
// n rows of so many blocks of columns, zeros beyond the rows; adds the columns' sums, without offsets.
void interleave_portable(const std::int8_t* codes, std::size_t stride, std::size_t n, std::size_t blocks,
                         const Interleaved& out, std::int32_t* sums) {
  for (std::size_t c = 0; c < blocks * kWords; ++c)
    for (std::size_t i = 0; i < (n + 3) / 4 * 4; ++i) {
      const int code = i < n ? codes[i * stride + c] : 0;
      out.codes[c / kWords * out.block_stride + i / 4 * out.quad_stride + c % kWords * 4 + i % 4] =
          static_cast<std::uint8_t>(code + out.offset);
      sums[c] += code;
    }
}

#if defined(__x86_64__)
constexpr std::size_t kVectors = kPanelColumns / kLanes;

// Places of the dither of 16 neighbouring columns, and the dither there.
PAR5_VNNI_INLINE __m512i dither_places(std::uint32_t first) {
  const __m512i lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  return _mm512_add_epi32(_mm512_set1_epi32(static_cast<int>(first)),
                          _mm512_mullo_epi32(lanes, _mm512_set1_epi32(static_cast<int>(kDitherAcross))));
}
PAR5_VNNI_INLINE __m512 dither_of(__m512i places) {
  return _mm512_mul_ps(_mm512_cvtepi32_ps(places), _mm512_set1_ps(kDitherStep));
}

template <bool kDithered>
PAR5_VNNI_INLINE std::int32_t round_codes_vnni(const float* x, const float* factors, std::size_t n, float reciprocal,
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
        value = _mm512_add_ps(value, dither_of(place));
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

template <bool kDithered>
PAR5_VNNI void round_rows_vnni(const float* x, const float* factors, const IntegerRows& rows, std::size_t begin,
                               std::size_t end, std::size_t dither) {
  const auto largest = [&](const float* values) __attribute__((target(PAR5_TARGET_VNNI))) {
    return largest_magnitude_vnni(values, factors, rows.inner.size);
  };
  const auto round = [](const float* values, const float* by, std::size_t n, float reciprocal, std::uint32_t phase,
                        std::int8_t* codes) __attribute__((target(PAR5_TARGET_VNNI))) {
    return round_codes_vnni<kDithered>(values, by, n, reciprocal, phase, codes);
  };
  round_rows_by(x, factors, rows, begin, end, dither, largest, round);
}

template <bool kDithered>
PAR5_VNNI void round_panel_vnni(const float* x, std::size_t stride, std::size_t n, std::size_t columns,
                                const float* factors, std::uint32_t phase, std::uint8_t* out, float* scales) {
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
        __m512 value = _mm512_mul_ps(_mm512_maskz_loadu_ps(rounded[v], x + (i + j) * stride + v * kLanes), factor);
        value = _mm512_mul_ps(value, reciprocal[v]);
        if constexpr (kDithered)
          value = _mm512_mask_add_ps(value, rounded[v], value,
                                     dither_of(dither_places(phase + dither_offset(i + j, v * kLanes))));
        const __m512i code = _mm512_min_epi32(_mm512_cvtps_epi32(value), _mm512_set1_epi32(kRowSteps));
        quad[v] =
            _mm512_or_si512(quad[v], _mm512_slli_epi32(_mm512_and_si512(code, low), static_cast<unsigned>(8 * j)));
      }
    }
#pragma GCC unroll 4
    for (std::size_t v = 0; v < kVectors; ++v)
      _mm512_mask_storeu_epi32(out + v * 4 * kLanes, there[v],
                               _mm512_add_epi8(quad[v], _mm512_set1_epi8(static_cast<char>(kCodeOffset))));
  }
}

PAR5_VNNI void interleave_vnni(const std::int8_t* codes, std::size_t stride, std::size_t n, std::size_t blocks,
                               const Interleaved& out, std::int32_t* sums) {
  const auto row = [&](std::size_t i, std::size_t block) __attribute__((target(PAR5_TARGET_VNNI))) {
    return i < n ? _mm_loadu_si128(reinterpret_cast<const __m128i*>(codes + i * stride + block * kWords))
                 : _mm_setzero_si128();
  };
  const __m512i offset = _mm512_set1_epi8(static_cast<char>(out.offset));
  // Blocks inside, as rows may be so far apart that only few of their cache lines can be kept.
  for (std::size_t i = 0; i < n; i += 4)
    for (std::size_t block = 0; block < blocks; ++block) {
      const __m128i a = row(i, block), b = row(i + 1, block), c = row(i + 2, block), d = row(i + 3, block);
      const __m128i ab_low = _mm_unpacklo_epi8(a, b), ab_high = _mm_unpackhi_epi8(a, b),
                    cd_low = _mm_unpacklo_epi8(c, d), cd_high = _mm_unpackhi_epi8(c, d);
      __m512i quads = _mm512_castsi128_si512(_mm_unpacklo_epi16(ab_low, cd_low));
      quads = _mm512_inserti32x4(quads, _mm_unpackhi_epi16(ab_low, cd_low), 1);
      quads = _mm512_inserti32x4(quads, _mm_unpacklo_epi16(ab_high, cd_high), 2);
      quads = _mm512_inserti32x4(quads, _mm_unpackhi_epi16(ab_high, cd_high), 3);
      _mm512_storeu_si512(out.codes + block * out.block_stride + i / 4 * out.quad_stride,
                          _mm512_add_epi8(quads, offset));
      WordSums total;
      std::memcpy(&total, sums + block * kWords, sizeof(total));
      total = dot(total, _mm512_set1_epi8(1), quads);
      std::memcpy(sums + block * kWords, &total, sizeof(total));
    }
}

#endif

struct Forms {
  float (*largest_magnitude)(const float*, const float*, std::size_t) = largest_magnitude_portable;
  std::int32_t (*round_codes)(const float*, const float*, std::size_t, float, std::uint32_t,
                              std::int8_t*) = round_codes_portable<false>;
  void (*round_rows)(const float*, const float*, const IntegerRows&, std::size_t, std::size_t,
                     std::size_t) = round_rows_portable<false>;
  void (*dither_rows)(const float*, const float*, const IntegerRows&, std::size_t, std::size_t,
                      std::size_t) = round_rows_portable<true>;
  void (*round_panel)(const float*, std::size_t, std::size_t, std::size_t, const float*, std::uint32_t, std::uint8_t*,
                      float*) = round_panel_portable<false>;
  void (*dither_panel)(const float*, std::size_t, std::size_t, std::size_t, const float*, std::uint32_t, std::uint8_t*,
                       float*) = round_panel_portable<true>;
  void (*interleave)(const std::int8_t*, std::size_t, std::size_t, std::size_t, const Interleaved&,
                     std::int32_t*) = interleave_portable;
};

constexpr Forms kPortable;
const Forms& forms() {
#if defined(__x86_64__)
  static const Forms fast = {largest_magnitude_vnni, round_codes_vnni<false>, round_rows_vnni<false>,
                             round_rows_vnni<true>,  round_panel_vnni<false>, round_panel_vnni<true>,
                             interleave_vnni};
  if (takes_fast_integer_products()) return fast;
#endif
  return kPortable;
}

}  // namespace

void quantize_rows(const float* x, const float* factors, const IntegerRows& rows, std::size_t begin, std::size_t end) {
  forms().round_rows(x, factors, rows, begin, end, 0);
}
void quantize_rows_dithered(const float* x, const float* factors, const IntegerRows& rows, std::size_t begin,
                            std::size_t end, std::size_t dither) {
  forms().dither_rows(x, factors, rows, begin, end, dither);
}

void interleave_columns(const IntegerRows& from, std::size_t first, std::size_t count, const IntegerRows& columns) {
  const Forms& form = forms();
  const InnerGroups &inner = columns.inner, &across = from.inner;
  const std::size_t block_stride = inner.padded() * kWords, blocks = (count + kWords - 1) / kWords;
  // Where group and place in it lie among the padded codes of a row.
  const auto place = [&](std::size_t c) { return across.place(c / across.group) + c % across.group; };
  const bool together = count % kWords == 0 && place(first) + count - 1 == place(first + count - 1);
  std::vector<std::int8_t> room(together ? 0 : inner.group * blocks * kWords);
  std::vector<std::int32_t> sums(blocks * kWords);
  for (std::size_t g = 0; g < inner.count(); ++g) {
    const std::size_t n = inner.values(g);
    const std::int8_t* codes = from.row(inner.first(g)) + place(first);
    std::size_t stride = across.padded();
    if (!together) {
      stride = blocks * kWords;
      for (std::size_t i = 0; i < n; ++i)
        for (std::size_t c = 0; c < count; ++c) room[i * stride + c] = from.row(inner.first(g) + i)[place(first + c)];
      codes = room.data();
    }
    std::fill(sums.begin(), sums.end(), 0);
    std::uint8_t* const out = std::bit_cast<std::uint8_t*>(columns.codes) + inner.place(g) * kWords;
    form.interleave(codes, stride, n, blocks, {out, kWords * 4, block_stride, 0}, sums.data());
    for (std::size_t c = 0; c < count; ++c) columns.sums[c * inner.count() + g] = sums[c];
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
    for (std::size_t i = 0; i < panel_bytes; ++i) codes[i] ^= kCodeOffset;
  }
}

void pack_inputs(const IntegerMatrix& matrix, std::size_t group, const PackedPanels& packed, std::size_t panel) {
  const Forms& form = forms();
  const InnerGroups &inner = packed.inner, &inputs = matrix.inputs;
  std::uint8_t* const codes = packed.codes + panel * inner.padded() * kPanelColumns;
  const std::size_t first = panel * kPanelColumns, columns = std::min(kPanelColumns, packed.columns - first);
  const std::int8_t* in = matrix.codes + inputs.first(group) + first;
  std::size_t stride = inputs.size;
  std::vector<std::int8_t> room;
  if (columns < kPanelColumns) {
    room.resize(inner.size * kPanelColumns);
    for (std::size_t k = 0; k < inner.size; ++k)
      std::copy_n(in + k * stride, columns, room.begin() + static_cast<std::ptrdiff_t>(k * kPanelColumns));
    in = room.data(), stride = kPanelColumns;
  }
  std::int32_t sums[kPanelColumns] = {};
  form.interleave(in, stride, inner.size, kPanelColumns / kWords, {codes, kPanelColumns * 4, kWords * 4, kCodeOffset},
                  sums);
}

namespace {
template <class Round>
void quantize_panels_by(const float* values, const float* factors, const PackedPanels& packed, std::size_t group,
                        std::size_t dither, Round&& round) {
  const InnerGroups& inner = packed.inner;
  for (std::size_t panel = 0; panel < packed.panels(); ++panel) {
    const std::size_t first = panel * kPanelColumns, columns = std::min(kPanelColumns, packed.columns - first);
    round(values + first, packed.columns, inner.values(group), columns, factors, dither_offset(dither, first),
          packed.codes + (panel * inner.padded() + inner.place(group)) * kPanelColumns,
          packed.scales + group * packed.columns + first);
  }
}
}  // namespace

void quantize_panels(const float* values, const float* factors, const PackedPanels& packed, std::size_t group) {
  quantize_panels_by(values, factors, packed, group, 0, forms().round_panel);
}
void quantize_panels_dithered(const float* values, const float* factors, const PackedPanels& packed, std::size_t group,
                              std::size_t dither) {
  quantize_panels_by(values, factors, packed, group, dither, forms().dither_panel);
}

}  // namespace par5::kernels
