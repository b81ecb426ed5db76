// What one symbol is: a code of a quantiser grid or an fp8 e4m3 byte, and the binary decisions that spell it.
//   grid: zero? · sign · magnitude m: is m >= 2, 4, 8, … (unary) · the bits of m below its top bit
//   fp8:  sign · exponent field E: is E > 0, 1, 2, … (unary) · three mantissa bits
#pragma once

#include <array>
#include <cstdint>

namespace par5::coder {

struct Alphabet {
  enum class Kind : std::uint8_t { grid, fp8 };
  Kind kind = Kind::grid;
  int max_code = 2;      // grid: codes are -max_code … max_code; 1 … 128
  bool has_zero = true;  // grid: false for the binary grid, whose codes are -1 and 1

  bool operator==(const Alphabet&) const = default;
  bool is_fp8() const { return kind == Kind::fp8; }
  // Number of unary decisions.
  int unary_count() const {
    if (is_fp8()) return 15;
    int count = 0;
    while ((2 << count) <= max_code) ++count;
    return count;
  }
  // Decisions are numbered: 0 zero, 1 sign, then the unary ones, then the classes of mantissa bits.
  int first_mantissa() const { return 2 + unary_count(); }
  int decision_count() const { return first_mantissa() + (unary_count() > 0 ? 32 : 0); }
};

constexpr int kZeroDecision = 0;
constexpr int kSignDecision = 1;
constexpr int kFirstUnary = 2;

// The value of an fp8 byte: (8 + mantissa) 2^(E - 10), or mantissa · 2^-9 where E is 0. 0x7f, which is no number,
// counts as 480.
std::array<float, 256> fp8_values();

}  // namespace par5::coder
