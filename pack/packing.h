// Codes ⇄ bytes: the layouts in which a tensor's codes can stand before a codec compresses them (docs/format.md,
// "Layouts"). Unpacking takes foreign bytes: every byte, length and padding bit that packing would not have written is
// bad_data, and nothing is allocated beyond what the bytes that are there can fill.
//
// A symbol is a code counted from 0: code + max_code (binary: 0 for -1, 1 for +1); a scale delta + 2^(bits - 1); an
// fp8 code as it is. Layouts ending in _t take the matrix column by column.
//   base5   quinary, 3 symbols a byte: s0 + 5 · s1 + 25 · s2, first symbol least significant; missing ones count 0
//   base3   ternary, 5 symbols a byte: s0 + 3 · s1 + 9 · s2 + 27 · s3 + 81 · s4, likewise
//   planes  bits, least significant bit of a byte first, every plane padded to whole bytes with 0 bits:
//           ternary, quinary, septenary: "not zero" for every code; "positive" for those; then for m = 1 … L - 1
//           "magnitude above m" for those whose magnitude is at least m;
//           other grids and deltas: the bits of all symbols, highest bit's plane first
//   bytes   one symbol a byte; fp16: two bytes a value, little endian
//   split   fp16: the low bytes of all values, then the high bytes
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "core/config.h"
#include "core/error.h"
#include "core/tensor.h"
#include "pack/architecture.h"

namespace par5 {

// The numbers stand in artifacts; they never change.
enum class Layout : std::uint8_t {
  bytes = 0,
  bytes_t = 1,
  planes = 2,
  planes_t = 3,
  base5 = 4,
  base5_t = 5,
  base3 = 6,
  base3_t = 7,
  split = 8,
  split_t = 9,
};

std::string_view layout_name(Layout layout);  // "base5_t"
Result<Layout> layout_from_name(std::string_view name);
// For numbers in files: an unknown one is bad_data.
Result<Layout> layout_from_number(std::uint8_t number);

// The layouts that serve a grid; those of fp8 and fp16 payloads, where only matrices can be transposed; and those of
// scale deltas, which are a matrix [rows, groups of a row].
std::vector<Layout> layouts_for(Grid grid);
std::vector<Layout> layouts_for(Storage storage, const Shape& shape);
std::vector<Layout> layouts_for_deltas();

// The most bytes that `count` codes take in this layout; a decoder needs no more room.
std::uint64_t max_packed_bytes(Layout layout, Grid grid, std::uint64_t count);

// `codes` are row-major [shape[0], shape[1]] and lie in the grid. A layout that does not serve the grid is an internal
// error when packing and bad_data when unpacking.
Result<std::vector<std::uint8_t>> pack_codes(Layout layout, Grid grid, const Shape& shape,
                                             std::span<const std::int8_t> codes);
Result<std::vector<std::int8_t>> unpack_codes(Layout layout, Grid grid, const Shape& shape,
                                              std::span<const std::uint8_t> bytes);

// Scale deltas of `bits` bits (ScaleDeltas), row-major [shape[0], shape[1]].
Result<std::vector<std::uint8_t>> pack_deltas(Layout layout, int bits, const Shape& shape,
                                              std::span<const std::int8_t> deltas);
Result<std::vector<std::int8_t>> unpack_deltas(Layout layout, int bits, const Shape& shape,
                                               std::span<const std::uint8_t> bytes);

// fp8 codes and fp16 bits of any shape; not finite values are bad_data when unpacking.
Result<std::vector<std::uint8_t>> pack_fp8(Layout layout, const Shape& shape, std::span<const std::uint8_t> codes);
Result<std::vector<std::uint8_t>> unpack_fp8(Layout layout, const Shape& shape, std::span<const std::uint8_t> bytes);
Result<std::vector<std::uint8_t>> pack_fp16(Layout layout, const Shape& shape, std::span<const std::uint16_t> codes);
Result<std::vector<std::uint16_t>> unpack_fp16(Layout layout, const Shape& shape, std::span<const std::uint8_t> bytes);

}  // namespace par5
