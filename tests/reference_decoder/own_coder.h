// The second decoder's reading of docs/coder.md: slow, and with no project headers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace reference {

struct Alphabet {
  bool fp8 = false;
  int most = 2;  // grid: codes are -most … most
  bool has_zero = true;
};

struct Matrix {
  std::int64_t rows = 0, columns = 0;
  std::vector<int> known;  // as many numbers for each row, in units of 2^-8; or none
};

// The codes of each matrix, row by row (fp8: bytes). Throws std::runtime_error where the stream must be refused.
std::vector<std::vector<int>> decode_chain(const Alphabet& alphabet, const std::vector<Matrix>& matrices,
                                           const std::vector<std::uint8_t>& stream);

// Vectors of fp16 bits of these lengths.
std::vector<std::vector<std::uint16_t>> decode_halves(const std::vector<std::size_t>& lengths,
                                                      const std::vector<std::uint8_t>& stream);

// Byte strings of this length together.
std::vector<std::uint8_t> decode_bytes(std::size_t length, const std::vector<std::uint8_t>& stream);

}  // namespace reference
