// Byte strings (the tokenizer, the self-test): a context coder whose contexts are the bytes before.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "core/error.h"

namespace par5::coder {

// Codes byte strings one after the other; what is learnt from one serves the next. `string_bytes`, where given, gets
// the bytes of each; they sum to the stream's. Memory: at most 48 MiB, less for short strings.
std::vector<std::byte> encode_bytes(std::span<const std::span<const std::byte>> strings,
                                    std::vector<std::uint64_t>* string_bytes = nullptr);

// Fills strings of the lengths that were coded and returns the bytes of each, as the encoder counts them.
// bad_data: the stream is shorter or longer than that.
Result<std::vector<std::uint64_t>> decode_bytes(std::span<const std::byte> bytes,
                                                std::span<const std::span<std::byte>> strings);

}  // namespace par5::coder
