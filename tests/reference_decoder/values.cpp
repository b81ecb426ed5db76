// Layouts, scales and small floats.
#include <cmath>

#include "parts.h"

namespace reference {
namespace {

// One plane of `count` bits.
std::vector<bool> plane(const Bytes& bytes, std::size_t& at, std::size_t count) {
  std::vector<bool> bits(count);
  const std::size_t size = (count + 7) / 8;
  require(bytes.size() - at >= size, "planes too short");
  for (std::size_t i = 0; i < size * 8; ++i) {
    const bool bit = bytes[at + i / 8] >> (i % 8) & 1;
    if (i < count)
      bits[i] = bit;
    else
      require(!bit, "padding is not zero");
  }
  at += size;
  return bits;
}

}  // namespace

float half(std::uint16_t bits) {
  const int exponent = bits >> 10 & 31, mantissa = bits & 1023;
  require(exponent != 31, "fp16 value is not finite");
  const double magnitude = exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(1024 + mantissa, exponent - 25);
  return static_cast<float>(bits & 0x8000 ? -magnitude : magnitude);
}

float e4m3(std::uint8_t bits) {
  require((bits & 0x7f) != 0x7f, "fp8 value is not a number");
  const int exponent = bits >> 3 & 15, mantissa = bits & 7;
  const double magnitude = exponent == 0 ? std::ldexp(mantissa, -9) : std::ldexp(8 + mantissa, exponent - 10);
  return static_cast<float>(bits & 0x80 ? -magnitude : magnitude);
}

std::vector<int> symbols(const Bytes& bytes, int layout, std::size_t count, int levels) {
  std::vector<int> out;
  if (layout == 0) {
    out.assign(bytes.begin(), bytes.end());
  } else if (layout == 2) {
    int bits = 0;
    while ((1 << bits) < levels) ++bits;
    out.assign(count, 0);
    std::size_t at = 0;
    for (int b = bits; b-- > 0;) {
      const auto set = plane(bytes, at, count);
      for (std::size_t i = 0; i < count; ++i) out[i] |= set[i] << b;
    }
    require(at == bytes.size(), "planes too long");
  } else {
    const int base = layout == 4 ? 5 : 3, per_byte = layout == 4 ? 3 : 5;
    require(levels == base, "layout does not fit the grid");
    for (int byte : bytes) {
      for (int i = 0; i < per_byte; ++i, byte /= base) out.push_back(byte % base);
      require(byte == 0, "byte too large");
    }
    require(out.size() >= count && out.size() < count + static_cast<std::size_t>(per_byte), "wrong length");
    for (; out.size() > count; out.pop_back()) require(out.back() == 0, "padding is not zero");
  }
  require(out.size() == count, "wrong length");
  for (const int symbol : out) require(symbol < levels, "symbol beyond the grid");
  return out;
}

std::vector<int> sign_planes(const Bytes& bytes, std::size_t count, int largest) {
  std::size_t at = 0;
  const auto nonzero = plane(bytes, at, count);
  std::vector<std::size_t> members;
  for (std::size_t i = 0; i < count; ++i)
    if (nonzero[i]) members.push_back(i);
  std::vector<int> codes(count, 0);
  const auto positive = plane(bytes, at, members.size());
  for (std::size_t k = 0; k < members.size(); ++k) codes[members[k]] = positive[k] ? 1 : -1;
  for (int m = 1; m < largest; ++m) {
    const auto above = plane(bytes, at, members.size());
    std::vector<std::size_t> larger;
    for (std::size_t k = 0; k < members.size(); ++k) {
      if (!above[k]) continue;
      codes[members[k]] += codes[members[k]] > 0 ? 1 : -1;
      larger.push_back(members[k]);
    }
    members = larger;
  }
  require(at == bytes.size(), "planes too long");
  return codes;
}

std::vector<std::uint16_t> halves(const Bytes& bytes, int layout, std::size_t count) {
  require(bytes.size() == 2 * count, "wrong length");
  std::vector<std::uint16_t> out(count);
  for (std::size_t i = 0; i < count; ++i)
    out[i] = static_cast<std::uint16_t>(layout == 8 ? bytes[i] | bytes[count + i] << 8
                                                    : bytes[2 * i] | bytes[2 * i + 1] << 8);
  return out;
}

std::uint16_t reconstruct(std::uint16_t anchor, std::uint16_t step, int delta) {
  const std::int64_t roots[24] = {3037000500, 2553802834, 2341847524, 2242560872, 2194507417, 2170868212,
                                  2159144272, 2153306067, 2150392887, 2148937775, 2148210589, 2147847087,
                                  2147665360, 2147574502, 2147529075, 2147506361, 2147495005, 2147489326,
                                  2147486487, 2147485068, 2147484358, 2147484003, 2147483825, 2147483737};
  const auto fixed = [](std::uint16_t bits) {
    const std::int64_t x = bits >> 10 & 31, mantissa = bits & 1023;
    require(x != 31, "anchor or step is not finite");
    const std::int64_t magnitude = x == 0 ? mantissa : (1024 + mantissa) << (x - 1);
    return bits & 0x8000 ? -magnitude : magnitude;
  };
  require(step < 0x8000, "step is negative");
  const std::int64_t v = fixed(anchor) + delta * fixed(step), unit = std::int64_t{1} << 24;
  std::int64_t exponent = v / unit, fraction = v % unit;
  if (fraction < 0) {
    fraction += unit;
    --exponent;
  }
  if (exponent > 15) return 0x7bff;
  if (exponent < -26) return 1;
  std::uint64_t mantissa = std::uint64_t{1} << 31;
  for (int k = 1; k <= 24; ++k)
    if (fraction >> (24 - k) & 1)
      mantissa = (mantissa * static_cast<std::uint64_t>(roots[k - 1]) + (std::uint64_t{1} << 30)) >> 31;
  const int shift = exponent >= -14 ? 21 : 7 - static_cast<int>(exponent);
  std::uint64_t rounded = mantissa >> shift;
  const std::uint64_t rest = mantissa - (rounded << shift), tie = std::uint64_t{1} << (shift - 1);
  if (rest > tie || (rest == tie && rounded % 2 == 1)) ++rounded;
  const std::int64_t bits = static_cast<std::int64_t>(rounded) + (exponent >= -14 ? (exponent + 14) * 1024 : 0);
  return static_cast<std::uint16_t>(bits < 1 ? 1 : bits > 0x7bff ? 0x7bff : bits);
}

}  // namespace reference
