#include "model/int16_kernels.h"

#include <cstring>

#include "core/intrinsics.h"
#include "model/integer_kernels.h"
#include "model/integer_rounding.h"
#include "model/word_transpose.h"

namespace par5::kernels {
namespace {

constexpr std::size_t kTileRows = 6;  // times four vectors of 16 columns: 24 of 32 registers hold sums

// A part of a product: `count` rows from the first of `rows`' codes, a panel, a block of the inner dimension.
struct Tile {
  const std::int16_t* codes;  // of the first row's first pair
  std::size_t code_stride;    // from row to row
  const float* row_scales;
  const std::int16_t* panel;  // the block's first pair
  const float* column_scales;
  std::size_t columns, pairs;
  float factor;
  const float* base;  // what the product is added to, times base_factor; null: 0
  float base_factor;
  float* out;
  std::size_t stride;  // of base and out
};

void round_row_portable(const float* x, const float* factors, std::size_t n, float reciprocal, std::int16_t* codes) {
  for (std::size_t i = 0; i < n; ++i)
    codes[i] = static_cast<std::int16_t>(reciprocal == 0 ? 0 : std::nearbyint(scaled(x, factors, i) * reciprocal));
}

void tile_portable(const Tile& tile, std::size_t count) {
  for (std::size_t r = 0; r < count; ++r)
    for (std::size_t c = 0; c < tile.columns; ++c) {
      std::int32_t sum = 0;
      for (std::size_t k = 0; k < 2 * tile.pairs; ++k)
        sum += tile.codes[r * tile.code_stride + k] * tile.panel[(k / 2 * Int16Panels::kColumns + c) * 2 + k % 2];
      const std::size_t at = r * tile.stride + c;
      const float before = tile.base ? tile.base[at] * tile.base_factor : 0.0f;
      const float scale = tile.row_scales[r] * tile.factor * (tile.column_scales ? tile.column_scales[c] : 1);
      tile.out[at] = std::fma(static_cast<float>(sum), scale, before);
    }
}

// One word of out per column: the pair of codes of two rows.
void join_portable(const std::int16_t* first, const std::int16_t* second, std::size_t columns, std::int16_t* out) {
  for (std::size_t c = 0; c < columns; ++c) {
    out[2 * c] = first[c];
    out[2 * c + 1] = second ? second[c] : std::int16_t{0};
  }
}

#if defined(__x86_64__)
PAR5_VNNI void round_row_vnni(const float* x, const float* factors, std::size_t n, float reciprocal,
                              std::int16_t* codes) {
  const __m512 factor = _mm512_set1_ps(reciprocal);
  const __mmask16 any = reciprocal == 0 ? __mmask16(0) : __mmask16(0xffff);
  std::size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const __m512i rounded = _mm512_cvtps_epi32(_mm512_mul_ps(load_scaled(x, factors, i, any), factor));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(codes + i), _mm512_cvtepi32_epi16(rounded));
  }
  if (i == n) return;
  const __m512 rest = load_scaled(x, factors, i, any & first_lanes(n - i));
  _mm512_mask_cvtepi32_storeu_epi16(codes + i, first_lanes(n - i), _mm512_cvtps_epi32(_mm512_mul_ps(rest, factor)));
}

constexpr std::size_t kVectors = Int16Panels::kColumns / kLanes;
constexpr std::size_t kLineCodes = 64 / sizeof(std::int16_t);  // of a cache line

template <std::size_t kRows>
PAR5_VNNI void tile_rows(const Tile& tile) {
  WordSums sums[kRows][kVectors];
#pragma GCC unroll 8
  for (std::size_t r = 0; r < kRows; ++r)
#pragma GCC unroll 4
    for (std::size_t v = 0; v < kVectors; ++v) sums[r][v] = WordSums{};
  // What this tile adds to and writes, and the codes of the rows after it, lie in lines far apart that the hardware
  // does not foresee.
  for (std::size_t r = 0; r < kRows; ++r) {
    for (std::size_t column = 0; column < tile.columns; column += kLanes) {
      if (tile.base) _mm_prefetch(reinterpret_cast<const char*>(tile.base + r * tile.stride + column), _MM_HINT_T0);
      _mm_prefetch(reinterpret_cast<const char*>(tile.out + r * tile.stride + column), _MM_HINT_T0);
    }
    const std::int16_t* const next = tile.codes + (kRows + r) * tile.code_stride;
    for (std::size_t k = 0; k < 2 * tile.pairs; k += kLineCodes)
      _mm_prefetch(reinterpret_cast<const char*>(next + k), _MM_HINT_T0);
  }
  const std::int16_t *panel = tile.panel, *codes = tile.codes;
  for (std::size_t pair = 0; pair < tile.pairs; ++pair, panel += 2 * Int16Panels::kColumns, codes += 2) {
    __m512i column[kVectors];
#pragma GCC unroll 4
    for (std::size_t v = 0; v < kVectors; ++v) column[v] = _mm512_loadu_si512(panel + v * 2 * kLanes);
#pragma GCC unroll 8
    for (std::size_t r = 0; r < kRows; ++r) {
      std::int32_t word;
      std::memcpy(&word, codes + r * tile.code_stride, sizeof(word));
      const __m512i two = _mm512_set1_epi32(word);
#pragma GCC unroll 4
      for (std::size_t v = 0; v < kVectors; ++v) sums[r][v] = dot_words(sums[r][v], column[v], two);
    }
  }
#pragma GCC unroll 8
  for (std::size_t r = 0; r < kRows; ++r) {
    const __m512 row_scale = _mm512_set1_ps(tile.row_scales[r] * tile.factor);
#pragma GCC unroll 4
    for (std::size_t v = 0; v < kVectors; ++v) {
      const std::size_t column = v * kLanes;
      const __mmask16 mask = column < tile.columns ? first_lanes(tile.columns - column) : __mmask16(0);
      const __m512 scale = tile.column_scales
                               ? _mm512_mul_ps(row_scale, _mm512_maskz_loadu_ps(mask, tile.column_scales + column))
                               : row_scale;
      const std::size_t at = r * tile.stride + column;
      const __m512 before =
          tile.base ? _mm512_mul_ps(_mm512_maskz_loadu_ps(mask, tile.base + at), _mm512_set1_ps(tile.base_factor))
                    : _mm512_setzero_ps();
      const __m512 sum = _mm512_cvtepi32_ps(reinterpret_cast<__m512i>(sums[r][v]));
      _mm512_mask_storeu_ps(tile.out + at, mask, _mm512_fmadd_ps(sum, scale, before));
    }
  }
}

PAR5_VNNI void tile_vnni(const Tile& tile, std::size_t count) {
  switch (count) {
    case 1:
      return tile_rows<1>(tile);
    case 2:
      return tile_rows<2>(tile);
    case 3:
      return tile_rows<3>(tile);
    case 4:
      return tile_rows<4>(tile);
    case 5:
      return tile_rows<5>(tile);
    default:
      return tile_rows<kTileRows>(tile);
  }
}

PAR5_VNNI void join_vnni(const std::int16_t* first, const std::int16_t* second, std::size_t columns,
                         std::int16_t* out) {
  for (std::size_t c = 0; c < columns; c += kLanes) {
    const __mmask16 mask = first_lanes(columns - c);
    const __m512i low = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, first + c)),
                  high = second ? _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, second + c))
                                : _mm512_setzero_si512();
    _mm512_mask_storeu_epi32(out + 2 * c, mask, _mm512_or_si512(low, _mm512_slli_epi32(high, 16)));
  }
}
#endif

struct Forms {
  float (*largest_magnitude)(const float*, const float*, std::size_t) = largest_magnitude_portable;
  void (*round_row)(const float*, const float*, std::size_t, float, std::int16_t*) = round_row_portable;
  void (*tile)(const Tile&, std::size_t) = tile_portable;
  void (*join)(const std::int16_t*, const std::int16_t*, std::size_t, std::int16_t*) = join_portable;
};
constexpr Forms kPortable;

const Forms& forms() {
#if defined(__x86_64__)
  static const Forms fast = {largest_magnitude_vnni, round_row_vnni, tile_vnni, join_vnni};
  if (takes_fast_integer_products()) return fast;
#endif
  return kPortable;
}

}  // namespace

void quantize_int16_rows(const float* x, const float* factors, const Int16Rows& rows) {
  const Forms& form = forms();
  for (std::size_t row = 0; row < rows.rows; ++row, x += rows.inner) {
    std::int16_t* const codes = rows.codes + row * rows.padded();
    const Scale scale = scale_of(form.largest_magnitude(x, factors, rows.inner), kInt16Steps);
    rows.scales[row] = scale.step;
    form.round_row(x, factors, rows.inner, scale.reciprocal, codes);
    if (rows.padded() > rows.inner) codes[rows.inner] = 0;
  }
}

Int16Panels pack_int16_transposed(const Int16Rows& rows, std::int16_t* codes) {
  const Int16Panels packed{rows.inner, rows.rows, codes, rows.scales};
  // A pair of codes moves as one word.
  const std::size_t pairs = packed.pairs(), panel_codes = 2 * pairs * Int16Panels::kColumns;
  for (std::size_t panel = 0; panel < packed.panels(); ++panel) {
    const std::size_t first = panel * Int16Panels::kColumns;
    transpose_words(rows.codes + first * rows.padded(), pairs, std::min(Int16Panels::kColumns, packed.columns - first),
                    pairs, codes + panel * panel_codes, Int16Panels::kColumns);
  }
  return packed;
}

Int16Panels pack_int16(const Int16Rows& rows, std::int16_t* codes) {
  const Forms& form = forms();
  const Int16Panels packed{rows.rows, rows.inner, codes, nullptr};
  for (std::size_t panel = 0; panel < packed.panels(); ++panel) {
    const std::size_t first = panel * Int16Panels::kColumns,
                      columns = std::min(Int16Panels::kColumns, packed.columns - first);
    for (std::size_t pair = 0; pair < packed.pairs(); ++pair) {
      const std::int16_t* const row = rows.codes + 2 * pair * rows.padded() + first;
      form.join(row, 2 * pair + 1 < rows.rows ? row + rows.padded() : nullptr, columns,
                codes + (panel * packed.pairs() + pair) * Int16Panels::kColumns * 2);
    }
  }
  return packed;
}

void int16_product(const Int16Rows& rows, const Int16Panels& packed, float factor, bool lower, const float* base,
                   float base_factor, float* out) {
  const Forms& form = forms();
  constexpr std::size_t kBlockPairs = kInt16Block / 2;
  for (std::size_t panel = 0; panel < packed.panels(); ++panel) {
    const std::size_t first = panel * Int16Panels::kColumns;
    Tile tile{};
    tile.code_stride = rows.padded(), tile.stride = packed.columns, tile.factor = factor;
    tile.columns = std::min(Int16Panels::kColumns, packed.columns - first);
    tile.column_scales = packed.scales ? packed.scales + first : nullptr;
    // A block of a panel is 32 KiB, which stay in the first-level cache while all rows pass over them.
    for (std::size_t pair = 0; pair < packed.pairs(); pair += kBlockPairs) {
      tile.pairs = std::min(kBlockPairs, packed.pairs() - pair);
      tile.panel = packed.codes + (panel * packed.pairs() + pair) * Int16Panels::kColumns * 2;
      for (std::size_t row = lower ? first / kTileRows * kTileRows : 0; row < rows.rows; row += kTileRows) {
        tile.codes = rows.codes + row * rows.padded() + 2 * pair;
        tile.row_scales = rows.scales + row;
        tile.out = out + row * tile.stride + first;
        // Later blocks of the inner dimension add to what the first has left.
        tile.base = pair > 0 ? tile.out : base ? base + row * tile.stride + first : nullptr;
        tile.base_factor = pair > 0 ? 1 : base_factor;
        form.tile(tile, std::min(kTileRows, rows.rows - row));
      }
    }
  }
}

}  // namespace par5::kernels
