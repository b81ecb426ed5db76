// par5's own entropy coder for weights: a chain of matrices becomes one stream. What is learnt from a matrix serves the
// next ones, so matrices whose rows live in the same space (after transposing some) belong into one chain, in the order
// of the model. Chains are independent of each other and may be coded in parallel.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "archive/coder/alphabet.h"
#include "archive/coder/kernels.h"
#include "core/error.h"

namespace par5::coder {

// A matrix of codes, row-major [rows, columns]. Grid codes as they are, fp8 bytes reinterpreted. `transposed`: its
// columns are coded as rows; choose it so that what is coded as a row lies in the space that the chain's matrices
// share.
struct ChainPart {
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  bool transposed = false;
  std::span<const std::int8_t> codes;
  // What the decoder will know of each row before the chain is decoded: known.size() / rows numbers a row, row-major,
  // in units of 2^-8 (near -4 … 4 is best). Where there are any, the part is not transposed, and each row is regressed
  // on them and on the row before it.
  std::span<const std::int16_t> known = {};
  // Rows (as coded) from a row back to one that it may resemble: the head width where heads share a key-value head.
  // 0: none; at most 1023.
  std::int64_t partner_distance = 0;
};

struct PartShape {
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  std::span<const std::int16_t> known = {};  // as it was given to the encoder
};

// The longest row that is coded with contexts; a wider matrix is coded by order-0 alone. It bounds a decoder's memory.
inline constexpr std::size_t kWidestRow = 65536;

enum class Covariance { automatic, off, on };

struct ChainOptions {
  // Whether rows are predicted by covariances. `automatic` codes the chain both ways and keeps the smaller stream.
  Covariance covariance = Covariance::automatic;
  // The instruction set; the bytes do not depend on it. By default the best that the CPU has.
  std::optional<Target> target;
};

struct EncodedChain {
  std::vector<std::byte> bytes;
  std::vector<std::uint64_t> part_bytes;  // of each part; they sum to bytes.size()
};

// A known number from a sum or count: log2(value + 1) in units of 2^-8, linear between powers of two.
std::int16_t known_log2(std::uint32_t value);

// Usage errors: a shape that does not fit its codes, a code outside the alphabet, an instruction set that the CPU
// lacks.
Result<EncodedChain> encode_chain(const Alphabet& alphabet, std::span<const ChainPart> parts,
                                  const ChainOptions& options = {});

// Fills outputs[i], of shapes[i].rows · shapes[i].columns codes, row-major as they were given, and returns the bytes of
// each part as encode_chain counts them. Whatever the bytes are, every code lies in the alphabet, and decoding ends at
// the latest one row after the bytes do. bad_data: the stream is shorter or longer than what these shapes take, or has
// a header that no encoder writes.
Result<std::vector<std::uint64_t>> decode_chain(const Alphabet& alphabet, std::span<const std::byte> bytes,
                                                std::span<const PartShape> shapes,
                                                std::span<const std::span<std::int8_t>> outputs,
                                                std::optional<Target> target = std::nullopt);

}  // namespace par5::coder
