// fp16 vectors (gains, mixes, biases, 16-bit scales): a context coder for their bits.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "core/error.h"

namespace par5::coder {

// Codes vectors of IEEE binary16 bits one after the other. A value is seen beside the one before it in its vector and
// the one at its place in the last vector of the same length, so keep vectors of a kind together, in layer order.
// `vector_bytes`, where given, gets the bytes of each vector; they sum to the stream's.
std::vector<std::byte> encode_halves(std::span<const std::span<const std::uint16_t>> vectors,
                                     std::vector<std::uint64_t>* vector_bytes = nullptr);

// Fills vectors of the lengths that were coded and returns the bytes of each, as the encoder counts them; every 16-bit
// pattern may come out. bad_data: the stream is shorter or longer than that.
Result<std::vector<std::uint64_t>> decode_halves(std::span<const std::byte> bytes,
                                                 std::span<const std::span<std::uint16_t>> vectors);

}  // namespace par5::coder
