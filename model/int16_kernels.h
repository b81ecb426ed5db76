// Matrix products in 16-bit integers on the CPU, for Muon: both sides are rounded row by row, at twice
// float32's rate where AVX-512 VNNI multiplies. Sums of products are exact, so the portable
// forms give the bits of the AVX-512 ones. No LibTorch here, one thread: Muon gives every thread a matrix of its own.
#pragma once

#include <cstddef>
#include <cstdint>

namespace par5::kernels {

// Products are summed in 32 bits over so many of the inner dimension, then in float32; 256 · 2896² is below 2³¹.
constexpr std::size_t kInt16Block = 256;
constexpr int kInt16Steps = 2896;

// Rows in codes -2896 … 2896: value ≈ code · scale, with scale = the row's largest magnitude / 2896. The scale of a row
// with a NaN or an infinity is NaN or infinity.
struct Int16Rows {
  std::size_t rows = 0;
  std::size_t inner = 0;
  std::int16_t* codes = nullptr;  // [rows, padded()]
  float* scales = nullptr;        // [rows]

  // Codes lie in pairs, which one instruction multiplies.
  std::size_t padded() const { return (inner + 1) / 2 * 2; }
};
// Of x [rows.rows, rows.inner], times `factors` [rows.inner] where they are not null.
void quantize_int16_rows(const float* x, const float* factors, const Int16Rows& rows);

// A matrix [inner, columns] as products read it, in panels of 64 columns that hold one pair of the inner dimension
// after the other.
struct Int16Panels {
  static constexpr std::size_t kColumns = 64;
  std::size_t inner = 0;
  std::size_t columns = 0;
  std::int16_t* codes = nullptr;  // [panels(), pairs(), 64, 2]
  const float* scales = nullptr;  // [columns]; null: all 1

  std::size_t pairs() const { return (inner + 1) / 2; }
  std::size_t panels() const { return (columns + kColumns - 1) / kColumns; }
  std::size_t size() const { return panels() * pairs() * kColumns * 2; }  // of codes
};
// The transpose of `rows`, whose scales its columns take; `codes` has room for size() of the result.
Int16Panels pack_int16_transposed(const Int16Rows& rows, std::int16_t* codes);
// `rows` as they stand, without their scales: what they are multiplied with must carry these as factors.
Int16Panels pack_int16(const Int16Rows& rows, std::int16_t* codes);

// out [rows.rows, packed.columns] = base_factor · base + factor · rows · packed; `base` is of out's shape, may be out,
// and is zero where it is null. Where `lower` is set only what lies on and below the diagonal is wanted: the rest is
// undefined.
void int16_product(const Int16Rows& rows, const Int16Panels& packed, float factor, bool lower, const float* base,
                   float base_factor, float* out);

}  // namespace par5::kernels
