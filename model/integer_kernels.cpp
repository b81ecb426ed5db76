#include "model/integer_kernels.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/intrinsics.h"
#include "model/integer_rounding.h"

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

constexpr int kTileRows = 6;  // times four vectors of 16 columns: 24 of 32 registers hold sums

void tile_portable(const IntegerRows& rows, const PackedPanels& packed, float* out, std::size_t stride, std::size_t row,
                   std::size_t count, std::size_t panel) {
  const InnerGroups& inner = packed.inner;
  const std::size_t first = panel * kPanelColumns, columns = std::min(kPanelColumns, packed.columns - first);
  const std::uint8_t* const codes = packed.codes + panel * inner.padded() * kPanelColumns;
  for (std::size_t r = row; r < row + count; ++r)
    for (std::size_t c = 0; c < columns; ++c) {
      float total = 0;
      for (std::size_t g = 0; g < inner.count(); ++g) {
        std::int32_t sum = -kCodeOffset * rows.sums[r * inner.count() + g];
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
      const __m512i offset = _mm512_set1_epi32(-kCodeOffset * rows.sums[(row + r) * inner.count() + g]);
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

}  // namespace

void integer_product(const IntegerRows& rows, const PackedPanels& packed, float* out, std::size_t stride,
                     std::size_t begin, std::size_t end) {
  // So many rows stay in the second-level cache while all panels pass over them.
  constexpr std::size_t kBlockRows = 22 * kTileRows;
  auto* tile = tile_portable;
#if defined(__x86_64__)
  if (takes_fast_integer_products()) tile = tile_vnni;
#endif
  for (std::size_t block = begin; block < end; block += kBlockRows)
    for (std::size_t panel = 0; panel < packed.panels(); ++panel)
      for (std::size_t row = block, count; row < std::min(end, block + kBlockRows); row += count) {
        count = std::min<std::size_t>(kTileRows, end - row);
        if (rows.interleaved) count = std::min(count, IntegerRows::kBlock - row % IntegerRows::kBlock);
        tile(rows, packed, out, stride, row, count, panel);
      }
}

}  // namespace par5::kernels
