#include "budgets/foreign/low_bit_codes.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

namespace par5 {
namespace {

bool bit(std::string_view plane, std::uint64_t i) {
  return static_cast<unsigned char>(plane[i / 8]) >> (7 - i % 8) & 1;
}

std::uint64_t plane_bytes(std::uint64_t bits) { return (bits + 7) / 8; }

tl::unexpected<Error> wrong_size(std::uint64_t count, std::uint64_t bytes) {
  return bad_data(std::to_string(count) + " codes do not fit " + std::to_string(bytes) + " bytes");
}

}  // namespace

Result<std::vector<std::int8_t>> codes_from_base(std::string_view bytes, int base, std::uint64_t count) {
  const std::uint64_t per_byte = base == 3 ? 5 : 3;
  const int most = base == 3 ? 243 : 125;
  if (count > bytes.size() * per_byte || (count + per_byte - 1) / per_byte != bytes.size())
    return wrong_size(count, bytes.size());
  std::vector<std::int8_t> codes;
  codes.reserve(bytes.size() * per_byte);
  for (const char c : bytes) {
    int value = static_cast<unsigned char>(c);
    if (value >= most)
      return bad_data("a byte of " + std::to_string(value) + " is no group of base-" + std::to_string(base) + " codes");
    for (std::uint64_t i = 0; i < per_byte; ++i, value /= base)
      codes.push_back(static_cast<std::int8_t>(value % base - base / 2));
  }
  codes.resize(count);
  return codes;
}

Result<std::vector<std::int8_t>> codes_from_ternary_planes(std::string_view bytes, std::uint64_t count) {
  if (count > bytes.size() * 8) return wrong_size(count, bytes.size());
  const std::string_view nonzero = bytes.substr(0, plane_bytes(count)), positive = bytes.substr(plane_bytes(count));
  std::vector<std::int8_t> codes(count, 0);
  std::uint64_t seen = 0;
  for (std::uint64_t i = 0; i < count; ++i) {
    if (!bit(nonzero, i)) continue;
    if (seen / 8 >= positive.size()) return wrong_size(count, bytes.size());
    codes[i] = bit(positive, seen++) ? 1 : -1;
  }
  if (plane_bytes(seen) != positive.size()) return wrong_size(count, bytes.size());
  return codes;
}

Result<std::vector<std::int8_t>> codes_from_quinary_planes(std::string_view bytes, std::uint64_t count) {
  if (count > bytes.size() * 8) return wrong_size(count, bytes.size());
  const std::string_view zero = bytes.substr(0, plane_bytes(count));
  std::uint64_t others = 0;
  for (std::uint64_t i = 0; i < count; ++i) others += !bit(zero, i);
  if (plane_bytes(count) + 2 * plane_bytes(others) != bytes.size()) return wrong_size(count, bytes.size());
  const std::string_view negative = bytes.substr(plane_bytes(count), plane_bytes(others)),
                         large = bytes.substr(plane_bytes(count) + plane_bytes(others));
  std::vector<std::int8_t> codes(count, 0);
  std::uint64_t seen = 0;
  for (std::uint64_t i = 0; i < count; ++i) {
    if (bit(zero, i)) continue;
    const int magnitude = bit(large, seen) ? 2 : 1;
    codes[i] = static_cast<std::int8_t>(bit(negative, seen) ? -magnitude : magnitude);
    ++seen;
  }
  return codes;
}

std::vector<std::int8_t> from_columns(const std::vector<std::int8_t>& codes, std::uint64_t rows,
                                      std::uint64_t columns) {
  std::vector<std::int8_t> out(codes.size());
  for (std::uint64_t column = 0; column < columns; ++column)
    for (std::uint64_t row = 0; row < rows; ++row) out[row * columns + column] = codes[column * rows + row];
  return out;
}

std::vector<float> weights_from_codes(const std::vector<std::int8_t>& codes, const std::vector<float>& scales,
                                      std::uint64_t rows, std::uint64_t columns, std::uint64_t padded_columns,
                                      std::uint64_t group) {
  std::vector<float> weights(rows * columns);
  for (std::uint64_t first = 0; first < codes.size(); first += group) {
    int sum = 0;
    for (std::uint64_t i = 0; i < group; ++i) sum += std::abs(codes[first + i]);
    const float mean = std::max(static_cast<float>(sum) / static_cast<float>(group), 1e-8f);
    const float scale = scales[first / group] / mean;
    for (std::uint64_t i = first; i < first + group; ++i) {
      const std::uint64_t row = i / padded_columns, column = i % padded_columns;
      if (column < columns) weights[row * columns + column] = static_cast<float>(codes[i]) * scale;
    }
  }
  return weights;
}

}  // namespace par5
