// Matrix products in 8-bit integers on the CPU, for training: weights of few levels are exact in them, and the other
// side is rounded row by row. No LibTorch here. Each kernel works on a range, so that callers can share work among
// threads; results do not depend on how it is split, and the portable forms give the bits of the AVX-512 ones.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace par5::kernels {

// Whether this CPU has AVX-512 VNNI: the portable forms are far slower than float32 products.
bool has_fast_integer_products();
// For tests: the portable forms whatever the CPU.
void force_portable_integer_products(bool portable);
// Whether kernels take their AVX-512 forms: both of the above.
bool takes_fast_integer_products();

// The inner dimension of a product, in groups that have scales of their own; the last may be shorter. Codes are stored
// in quads, which one instruction multiplies: every group is padded to whole ones with zeros.
struct InnerGroups {
  std::size_t size = 0;
  std::size_t group = 0;

  std::size_t count() const { return (size + group - 1) / group; }
  std::size_t first(std::size_t g) const { return g * group; }
  std::size_t values(std::size_t g) const { return std::min(group, size - first(g)); }
  std::size_t quads(std::size_t g) const { return (values(g) + 3) / 4; }
  // Where a group's codes begin, and all that are stored of a row.
  std::size_t place(std::size_t g) const { return g * ((group + 3) / 4) * 4; }
  std::size_t padded() const { return size == 0 ? 0 : place(count() - 1) + quads(count() - 1) * 4; }
};

// Rows in codes -127 … 127: value ≈ code · scale, with scale = the row's largest magnitude / 127. The scale of a row
// with a NaN or an infinity is NaN or infinity.
struct IntegerRows {
  InnerGroups inner;
  std::int8_t* codes = nullptr;  // [rows, inner.padded()]; interleaved: [blocks of 16 rows, quads, 16 rows, 4]
  float* scales = nullptr;       // [rows]; null: all 1
  std::int32_t* sums = nullptr;  // [rows, inner.count()], of the codes
  bool interleaved = false;

  static constexpr std::size_t kBlock = 16;
  // The rows from `first` on, of rows that are not interleaved.
  IntegerRows from(std::size_t first) const {
    return {inner, codes + first * inner.padded(), scales + first, sums + first * inner.count(), false};
  }
  const std::int8_t* row(std::size_t r) const {
    return interleaved ? codes + r / kBlock * kBlock * inner.padded() + r % kBlock * 4 : codes + r * inner.padded();
  }
  std::size_t quad_stride() const { return interleaved ? kBlock * 4 : 4; }
};
// Rows [begin, end) of x [rows, inner.size], times `factors` [inner.size] where they are not null.
void quantize_rows(const float* x, const float* factors, const IntegerRows& rows, std::size_t begin, std::size_t end);
// The same with codes -128 … 127, rounded after a part of a step in [-1/2, 1/2) has been added that is evenly spread
// over every row and every column (Roberts' R2 sequence): so values far below a step, of which there are many in a
// gradient of logits, are not lost in sums over either. The first row is number `dither` of the sequence.
void quantize_rows_dithered(const float* x, const float* factors, const IntegerRows& rows, std::size_t begin,
                            std::size_t end, std::size_t dither);

// Columns [first, first + count) of the codes of `from` (not interleaved, [columns.inner.size rows]) as rows 0 … of
// `columns`, interleaved; without the rows' scales, so that what they are multiplied with must carry these. `first` is
// a multiple of 16, and memory of `columns` that of whole blocks.
void interleave_columns(const IntegerRows& from, std::size_t first, std::size_t count, const IntegerRows& columns);

// A matrix [outputs, inputs.size]: value = code · scale, with scale = the largest magnitude of a row's group / steps.
// Exact for groups of multiples of that scale.
struct IntegerMatrix {
  std::size_t outputs = 0;
  InnerGroups inputs;
  int steps = 127;               // at most 127
  std::int8_t* codes = nullptr;  // [outputs, inputs.size]
  float* scales = nullptr;       // [inputs.count(), outputs]
};
// Rows [begin, end) of `values`.
void quantize_matrix(const float* values, const IntegerMatrix& matrix, std::size_t begin, std::size_t end);

constexpr std::size_t kPanelColumns = 64;

// A matrix as products read it, in panels of 64 columns. A panel holds one quad of the inner dimension after the other:
// 64 columns of four codes, plus kCodeOffset, which makes them unsigned.
constexpr int kCodeOffset = 128;
struct PackedPanels {
  InnerGroups inner;
  std::size_t columns = 0;
  std::uint8_t* codes = nullptr;  // [panels(), inner.padded() / 4, 64, 4]
  float* scales = nullptr;        // [inner.count(), columns]; null: all 1

  std::size_t panels() const { return (columns + kPanelColumns - 1) / kPanelColumns; }
  std::size_t bytes() const { return panels() * inner.padded() * kPanelColumns; }
};
// For rows · matrixᵀ: the columns are the matrix's outputs. Panels [begin, end).
void pack_outputs(const IntegerMatrix& matrix, const PackedPanels& packed, std::size_t begin, std::size_t end);
// For rows · matrix: the columns are the inputs of one group. Their scales are the outputs', so the rows must carry
// them already. One panel.
void pack_inputs(const IntegerMatrix& matrix, std::size_t group, const PackedPanels& packed, std::size_t panel);
// From the rows of one group of packed.inner, values [packed.inner.values(group), packed.columns] times `factors` row
// by row, with a scale for every column. What pads a group is left as it was: the rows that it is multiplied with have
// zeros there.
void quantize_panels(const float* values, const float* factors, const PackedPanels& packed, std::size_t group);
// The same with the dither of quantize_rows_dithered.
void quantize_panels_dithered(const float* values, const float* factors, const PackedPanels& packed, std::size_t group,
                              std::size_t dither);

// Rows [begin, end) of out [rows, packed.columns], its rows `stride` apart: rows · packed.
void integer_product(const IntegerRows& rows, const PackedPanels& packed, float* out, std::size_t stride,
                     std::size_t begin, std::size_t end);

}  // namespace par5::kernels
