#include "pack/packing.h"

#include <algorithm>
#include <bit>
#include <string>

#include "pack/quantizer.h"

namespace par5 {
namespace {

using Bytes = std::vector<std::uint8_t>;

struct LayoutRow {
  Layout layout;
  std::string_view name;
};
constexpr LayoutRow kLayouts[] = {
    {Layout::bytes, "bytes"}, {Layout::bytes_t, "bytes_t"}, {Layout::planes, "planes"}, {Layout::planes_t, "planes_t"},
    {Layout::base5, "base5"}, {Layout::base5_t, "base5_t"}, {Layout::base3, "base3"},   {Layout::base3_t, "base3_t"},
    {Layout::split, "split"}, {Layout::split_t, "split_t"},
};

bool transposed(Layout layout) { return static_cast<int>(layout) % 2 == 1; }
// The layout without its orientation.
Layout upright(Layout layout) { return static_cast<Layout>(static_cast<int>(layout) & ~1); }

bool has(const std::vector<Layout>& layouts, Layout layout) {
  return std::find(layouts.begin(), layouts.end(), layout) != layouts.end();
}

std::uint64_t divide_up(std::uint64_t a, std::uint64_t b) { return a / b + (a % b != 0); }

// Elements of a shape that may come from a file.
Result<std::uint64_t> checked_count(const Shape& shape) {
  constexpr std::int64_t kMost = std::int64_t{1} << 40;
  std::int64_t count = 1;
  for (const std::int64_t extent : shape) {
    if (extent < 0 || extent > kMost || (extent != 0 && count > kMost / extent))
      return bad_data("the shape " + to_string(shape) + " is impossible");
    count *= extent;
  }
  return static_cast<std::uint64_t>(count);
}

tl::unexpected<Error> wrong_length(Layout layout, std::uint64_t count, std::size_t bytes) {
  return bad_data("the layout " + std::string(layout_name(layout)) + " of " + std::to_string(count) +
                  " values cannot have " + std::to_string(bytes) + " bytes");
}

tl::unexpected<Error> bad_byte(Layout layout, std::size_t offset, const std::string& what) {
  return bad_data("byte " + std::to_string(offset) + " of a " + std::string(layout_name(layout)) + " stream " + what,
                  {}, offset);
}

// out[column, row] = in[row, column], in tiles that fit the cache.
template <class T>
std::vector<T> transpose(std::span<const T> in, std::size_t rows, std::size_t columns) {
  constexpr std::size_t kTile = 64;
  std::vector<T> out(in.size());
  if (in.empty()) return out;  // one extent may be huge still
  for (std::size_t r0 = 0; r0 < rows; r0 += kTile)
    for (std::size_t c0 = 0; c0 < columns; c0 += kTile)
      for (std::size_t r = r0; r < std::min(rows, r0 + kTile); ++r)
        for (std::size_t c = c0; c < std::min(columns, c0 + kTile); ++c) out[c * rows + r] = in[r * columns + c];
  return out;
}
template <class T>
std::vector<T> to_layout_order(Layout layout, const Shape& shape, std::span<const T> values) {
  if (!transposed(layout)) return {values.begin(), values.end()};
  return transpose(values, static_cast<std::size_t>(shape[0]), static_cast<std::size_t>(shape[1]));
}
template <class T>
std::vector<T> from_layout_order(Layout layout, const Shape& shape, std::vector<T> values) {
  if (!transposed(layout)) return values;
  return transpose<T>(values, static_cast<std::size_t>(shape[1]), static_cast<std::size_t>(shape[0]));
}

// Bits, least significant first; `align` pads to a whole byte. No branch depends on the bits: codes are near random.
class BitWriter {
 public:
  explicit BitWriter(Bytes& out) : out_(out) {}
  // Appends `bit` where `present`.
  void put(bool bit, bool present = true) {
    word_ |= static_cast<std::uint64_t>(bit && present) << filled_;
    filled_ += present;
    if (filled_ == 64) flush(8);
  }
  void align() { flush((filled_ + 7) / 8); }

 private:
  void flush(unsigned bytes) {
    for (unsigned i = 0; i < bytes; ++i) out_.push_back(static_cast<std::uint8_t>(word_ >> (8 * i)));
    word_ = 0;
    filled_ = 0;
  }

  Bytes& out_;
  std::uint64_t word_ = 0;
  unsigned filled_ = 0;
};

// One plane of `count` bits that begins at `offset`, which moves behind it. bad_data if it is not there in full or
// its padding is not 0.
Result<std::span<const std::uint8_t>> take_plane(Layout layout, std::span<const std::uint8_t> bytes,
                                                 std::size_t& offset, std::uint64_t count) {
  const std::uint64_t size = divide_up(count, 8);
  if (size > bytes.size() - offset) return wrong_length(layout, count, bytes.size());
  const auto plane = bytes.subspan(offset, size);
  if (count % 8 != 0 && plane.back() >> (count % 8) != 0)
    return bad_byte(layout, offset + plane.size() - 1, "has padding bits that are not 0");
  offset += size;
  return plane;
}
int bit_at(std::span<const std::uint8_t> plane, std::size_t index) { return (plane[index / 8] >> (index % 8)) & 1; }

bool has_sign_planes(Grid grid) { return grid == Grid::ternary || grid == Grid::quinary || grid == Grid::septenary; }

Bytes pack_sign_planes(int limit, std::span<const std::int8_t> codes) {
  Bytes out;
  BitWriter bits(out);
  for (const std::int8_t code : codes) bits.put(code != 0);
  bits.align();
  for (const std::int8_t code : codes) bits.put(code > 0, code != 0);
  bits.align();
  for (int m = 1; m < limit; ++m) {
    for (const std::int8_t code : codes) bits.put(std::abs(code) > m, std::abs(code) >= m);
    bits.align();
  }
  return out;
}

Result<std::vector<std::int8_t>> unpack_sign_planes(Layout layout, int limit, std::uint64_t count,
                                                    std::span<const std::uint8_t> bytes) {
  std::size_t offset = 0;
  P5_TRY(const auto nonzero, take_plane(layout, bytes, offset, count));
  std::uint64_t members = 0;
  for (const std::uint8_t byte : nonzero) members += static_cast<std::uint64_t>(std::popcount(byte));
  P5_TRY(const auto positive, take_plane(layout, bytes, offset, members));
  std::vector<std::int8_t> codes(count, 0);
  // `k` counts the members so far; no branch but the loop's end depends on the bits.
  for (std::size_t i = 0, k = 0; i < count && k < members; ++i) {
    const int present = bit_at(nonzero, i), sign = 2 * bit_at(positive, k) - 1;
    codes[i] = static_cast<std::int8_t>(present * sign);
    k += static_cast<std::size_t>(present);
  }
  for (int m = 1; m < limit; ++m) {
    const std::uint64_t reached = members;
    P5_TRY(const auto above, take_plane(layout, bytes, offset, reached));
    members = 0;
    for (std::size_t i = 0, k = 0; i < count && k < reached; ++i) {
      const int present = std::abs(codes[i]) >= m, more = present & bit_at(above, k);
      codes[i] = static_cast<std::int8_t>(codes[i] + (codes[i] > 0 ? more : -more));
      k += static_cast<std::size_t>(present);
      members += static_cast<std::uint64_t>(more);
    }
  }
  if (offset != bytes.size()) return wrong_length(layout, count, bytes.size());
  return codes;
}

// Alphabets of symbols: `size` symbols from 0, in `bits` bits.
struct Alphabet {
  unsigned size = 0;
  unsigned bits = 0;
};
Alphabet alphabet_of(Grid grid) {
  const auto size = static_cast<unsigned>(level_count(grid));
  return {size, static_cast<unsigned>(std::bit_width(size - 1))};
}

Bytes pack_bit_planes(Alphabet alphabet, std::span<const std::uint8_t> symbols) {
  Bytes out;
  out.reserve(alphabet.bits * divide_up(symbols.size(), 8));
  BitWriter bits(out);
  for (unsigned b = alphabet.bits; b-- > 0;) {
    for (const std::uint8_t symbol : symbols) bits.put((symbol >> b) & 1);
    bits.align();
  }
  return out;
}

Result<Bytes> unpack_bit_planes(Layout layout, Alphabet alphabet, std::uint64_t count,
                                std::span<const std::uint8_t> bytes) {
  if (bytes.size() != alphabet.bits * divide_up(count, 8)) return wrong_length(layout, count, bytes.size());
  Bytes symbols(count, 0);
  std::size_t offset = 0;
  for (unsigned b = alphabet.bits; b-- > 0;) {
    P5_TRY(const auto plane, take_plane(layout, bytes, offset, count));
    for (std::size_t i = 0; i < count; ++i) symbols[i] = static_cast<std::uint8_t>(symbols[i] | bit_at(plane, i) << b);
  }
  return symbols;
}

Bytes pack_base(unsigned base, unsigned per_byte, std::span<const std::uint8_t> symbols) {
  Bytes out(divide_up(symbols.size(), per_byte));
  for (std::size_t i = 0; i < out.size(); ++i) {
    unsigned byte = 0;
    for (std::size_t k = std::min(symbols.size(), (i + 1) * per_byte); k-- > i * per_byte;)
      byte = byte * base + symbols[k];
    out[i] = static_cast<std::uint8_t>(byte);
  }
  return out;
}

Result<Bytes> unpack_base(Layout layout, unsigned base, unsigned per_byte, std::uint64_t count,
                          std::span<const std::uint8_t> bytes) {
  if (bytes.size() != divide_up(count, per_byte)) return wrong_length(layout, count, bytes.size());
  Bytes symbols(count);
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    unsigned byte = bytes[i];
    const std::size_t end = std::min<std::size_t>(count, (i + 1) * per_byte);
    for (std::size_t k = i * per_byte; k < end; ++k) {
      symbols[k] = static_cast<std::uint8_t>(byte % base);
      byte /= base;
    }
    if (byte != 0)
      return bad_byte(layout, i,
                      "is " + std::to_string(bytes[i]) + ", more than its " + std::to_string(end - i * per_byte) +
                          " symbols can make");
  }
  return symbols;
}

Result<Bytes> unpack_symbol_bytes(Layout layout, Alphabet alphabet, std::uint64_t count,
                                  std::span<const std::uint8_t> bytes) {
  if (bytes.size() != count) return wrong_length(layout, count, bytes.size());
  for (std::size_t i = 0; i < bytes.size(); ++i)
    if (bytes[i] >= alphabet.size)
      return bad_byte(layout, i,
                      "is " + std::to_string(bytes[i]) + ", beyond the " + std::to_string(alphabet.size) + " symbols");
  return Bytes(bytes.begin(), bytes.end());
}

Result<Bytes> pack_symbols(Layout layout, Alphabet alphabet, Bytes symbols) {
  switch (upright(layout)) {
    case Layout::bytes:
      return symbols;
    case Layout::planes:
      return pack_bit_planes(alphabet, symbols);
    case Layout::base5:
      return pack_base(5, 3, symbols);
    case Layout::base3:
      return pack_base(3, 5, symbols);
    default:
      return internal_error("symbols have no layout " + std::string(layout_name(layout)));
  }
}

Result<Bytes> unpack_symbols(Layout layout, Alphabet alphabet, std::uint64_t count,
                             std::span<const std::uint8_t> bytes) {
  switch (upright(layout)) {
    case Layout::bytes:
      return unpack_symbol_bytes(layout, alphabet, count, bytes);
    case Layout::planes:
      return unpack_bit_planes(layout, alphabet, count, bytes);
    case Layout::base5:
      return unpack_base(layout, 5, 3, count, bytes);
    case Layout::base3:
      return unpack_base(layout, 3, 5, count, bytes);
    default:
      return internal_error("symbols have no layout " + std::string(layout_name(layout)));
  }
}

// What packing and unpacking check alike: the layout serves the values and the shape is a matrix of `count` values.
Status check_request(bool served, Layout layout, const std::string& what) {
  if (served) return {};
  return bad_data("the layout " + std::string(layout_name(layout)) + " does not serve " + what);
}

Status check_matrix(const Shape& shape) {
  if (shape.size() == 2) return {};
  return bad_data("the shape " + to_string(shape) + " is not a matrix");
}

Status check_packing(Status status, const Shape& shape, std::size_t values) {
  if (!status) return internal_error(status.error().message);
  P5_TRY(const auto count, checked_count(shape));
  if (count != values)
    return internal_error(std::to_string(values) + " values do not have the shape " + to_string(shape));
  return {};
}

Status check_grid_request(Layout layout, Grid grid, const Shape& shape) {
  P5_OK(check_matrix(shape));
  return check_request(has(layouts_for(grid), layout), layout, "the grid " + std::string(grid_name(grid)));
}

Status check_delta_request(Layout layout, int bits, const Shape& shape) {
  P5_OK(check_matrix(shape));
  return check_request(has(layouts_for_deltas(), layout) && bits >= 1 && bits <= 8, layout,
                       "scale deltas of " + std::to_string(bits) + " bits");
}

Status check_float_request(Layout layout, Storage storage, const Shape& shape) {
  return check_request(
      has(layouts_for(storage, shape), layout), layout,
      std::string(storage == Storage::fp8 ? "fp8" : "fp16") + " values of the shape " + to_string(shape));
}

}  // namespace

std::string_view layout_name(Layout layout) {
  for (const LayoutRow& row : kLayouts)
    if (row.layout == layout) return row.name;
  return "unknown";
}

Result<Layout> layout_from_name(std::string_view name) {
  for (const LayoutRow& row : kLayouts)
    if (row.name == name) return row.layout;
  return usage_error("'" + std::string(name) + "' is not a layout");
}

Result<Layout> layout_from_number(std::uint8_t number) {
  for (const LayoutRow& row : kLayouts)
    if (static_cast<std::uint8_t>(row.layout) == number) return row.layout;
  return bad_data("the layout number " + std::to_string(number) + " is unknown");
}

std::vector<Layout> layouts_for(Grid grid) {
  using enum Layout;
  if (grid == Grid::quinary) return {base5, base5_t, planes, planes_t, bytes, bytes_t};
  if (grid == Grid::ternary) return {base3, base3_t, planes, planes_t, bytes, bytes_t};
  return {planes, planes_t, bytes, bytes_t};
}

std::vector<Layout> layouts_for(Storage storage, const Shape& shape) {
  std::vector<Layout> layouts = {Layout::bytes};
  if (shape.size() == 2) layouts.push_back(Layout::bytes_t);
  if (storage == Storage::fp16) {
    layouts.push_back(Layout::split);
    if (shape.size() == 2) layouts.push_back(Layout::split_t);
  }
  return layouts;
}

std::vector<Layout> layouts_for_deltas() { return {Layout::bytes, Layout::bytes_t, Layout::planes, Layout::planes_t}; }

std::uint64_t max_packed_bytes(Layout layout, Grid grid, std::uint64_t count) {
  switch (upright(layout)) {
    case Layout::base5:
      return divide_up(count, 3);
    case Layout::base3:
      return divide_up(count, 5);
    case Layout::planes: {
      const int planes = has_sign_planes(grid) ? 1 + max_code(grid) : static_cast<int>(alphabet_of(grid).bits);
      return static_cast<std::uint64_t>(planes) * divide_up(count, 8);
    }
    default:
      return count;
  }
}

Result<Bytes> pack_codes(Layout layout, Grid grid, const Shape& shape, std::span<const std::int8_t> codes) {
  P5_OK(check_packing(check_grid_request(layout, grid, shape), shape, codes.size()));
  const int limit = max_code(grid);
  const bool binary = grid == Grid::binary;
  for (std::size_t i = 0; i < codes.size(); ++i)
    if (std::abs(codes[i]) > limit || (binary && codes[i] == 0))
      return internal_error("code " + std::to_string(codes[i]) + " at " + std::to_string(i) + " is not in the grid " +
                            std::string(grid_name(grid)));
  const std::vector<std::int8_t> ordered = to_layout_order(layout, shape, codes);
  if (upright(layout) == Layout::planes && has_sign_planes(grid)) return pack_sign_planes(limit, ordered);
  Bytes symbols(ordered.size());
  for (std::size_t i = 0; i < symbols.size(); ++i)
    symbols[i] = static_cast<std::uint8_t>(binary ? ordered[i] > 0 : ordered[i] + limit);
  return pack_symbols(layout, alphabet_of(grid), std::move(symbols));
}

Result<std::vector<std::int8_t>> unpack_codes(Layout layout, Grid grid, const Shape& shape,
                                              std::span<const std::uint8_t> bytes) {
  P5_OK(check_grid_request(layout, grid, shape));
  P5_TRY(const auto count, checked_count(shape));
  if (upright(layout) == Layout::planes && has_sign_planes(grid)) {
    P5_TRY(auto codes, unpack_sign_planes(layout, max_code(grid), count, bytes));
    return from_layout_order(layout, shape, std::move(codes));
  }
  const Alphabet alphabet = alphabet_of(grid);
  const int limit = max_code(grid);
  P5_TRY(const auto symbols, unpack_symbols(layout, alphabet, count, bytes));
  std::vector<std::int8_t> codes(symbols.size());
  for (std::size_t i = 0; i < codes.size(); ++i) {
    if (symbols[i] >= alphabet.size)
      return bad_data("symbol " + std::to_string(i) + " of a " + std::string(layout_name(layout)) + " stream is " +
                          std::to_string(symbols[i]) + ", beyond the grid " + std::string(grid_name(grid)),
                      {}, i);
    codes[i] = static_cast<std::int8_t>(grid == Grid::binary ? 2 * symbols[i] - 1 : symbols[i] - limit);
  }
  return from_layout_order(layout, shape, std::move(codes));
}

Result<Bytes> pack_deltas(Layout layout, int bits, const Shape& shape, std::span<const std::int8_t> deltas) {
  P5_OK(check_packing(check_delta_request(layout, bits, shape), shape, deltas.size()));
  const int offset = 1 << (bits - 1);
  Bytes symbols(deltas.size());
  const std::vector<std::int8_t> ordered = to_layout_order(layout, shape, deltas);
  for (std::size_t i = 0; i < ordered.size(); ++i) {
    if (ordered[i] < -offset || ordered[i] >= offset)
      return internal_error("the scale delta " + std::to_string(ordered[i]) + " does not fit " + std::to_string(bits) +
                            " bits");
    symbols[i] = static_cast<std::uint8_t>(ordered[i] + offset);
  }
  return pack_symbols(layout, {1u << bits, static_cast<unsigned>(bits)}, std::move(symbols));
}

Result<std::vector<std::int8_t>> unpack_deltas(Layout layout, int bits, const Shape& shape,
                                               std::span<const std::uint8_t> bytes) {
  P5_OK(check_delta_request(layout, bits, shape));
  P5_TRY(const auto count, checked_count(shape));
  P5_TRY(const auto symbols, unpack_symbols(layout, {1u << bits, static_cast<unsigned>(bits)}, count, bytes));
  std::vector<std::int8_t> deltas(symbols.size());
  for (std::size_t i = 0; i < deltas.size(); ++i) deltas[i] = static_cast<std::int8_t>(symbols[i] - (1 << (bits - 1)));
  return from_layout_order(layout, shape, std::move(deltas));
}

Result<Bytes> pack_fp8(Layout layout, const Shape& shape, std::span<const std::uint8_t> codes) {
  P5_OK(check_packing(check_float_request(layout, Storage::fp8, shape), shape, codes.size()));
  return to_layout_order(layout, shape, codes);
}

Result<Bytes> unpack_fp8(Layout layout, const Shape& shape, std::span<const std::uint8_t> bytes) {
  P5_OK(check_float_request(layout, Storage::fp8, shape));
  P5_TRY(const auto count, checked_count(shape));
  if (bytes.size() != count) return wrong_length(layout, count, bytes.size());
  for (std::size_t i = 0; i < bytes.size(); ++i)
    if ((bytes[i] & 0x7f) == 0x7f) return bad_byte(layout, i, "is not a finite fp8 value");
  return from_layout_order(layout, shape, Bytes(bytes.begin(), bytes.end()));
}

Result<Bytes> pack_fp16(Layout layout, const Shape& shape, std::span<const std::uint16_t> codes) {
  P5_OK(check_packing(check_float_request(layout, Storage::fp16, shape), shape, codes.size()));
  const std::vector<std::uint16_t> ordered = to_layout_order(layout, shape, codes);
  const bool split = upright(layout) == Layout::split;
  Bytes out(2 * ordered.size());
  for (std::size_t i = 0; i < ordered.size(); ++i) {
    out[split ? i : 2 * i] = static_cast<std::uint8_t>(ordered[i] & 0xff);
    out[split ? ordered.size() + i : 2 * i + 1] = static_cast<std::uint8_t>(ordered[i] >> 8);
  }
  return out;
}

Result<std::vector<std::uint16_t>> unpack_fp16(Layout layout, const Shape& shape, std::span<const std::uint8_t> bytes) {
  P5_OK(check_float_request(layout, Storage::fp16, shape));
  P5_TRY(const auto count, checked_count(shape));
  if (bytes.size() != 2 * count) return wrong_length(layout, count, bytes.size());
  const bool split = upright(layout) == Layout::split;
  std::vector<std::uint16_t> codes(count);
  for (std::size_t i = 0; i < codes.size(); ++i) {
    const unsigned low = bytes[split ? i : 2 * i], high = bytes[split ? codes.size() + i : 2 * i + 1];
    codes[i] = static_cast<std::uint16_t>(low | high << 8);
    if ((codes[i] & 0x7fffu) >= 0x7c00u)
      return bad_data(
          "value " + std::to_string(i) + " of a " + std::string(layout_name(layout)) + " stream is not a finite fp16",
          {}, i);
  }
  return from_layout_order(layout, shape, std::move(codes));
}

}  // namespace par5
