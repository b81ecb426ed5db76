// A tokenizer as bytes (docs/format.md, "Tokenizer stream"). What the usual BPE model implies costs nothing: scores
// that are ranks, byte pieces in order.
#pragma once

#include "archive/byte_io.h"
#include "core/tokenizer_data.h"

namespace par5 {

// Refuses, as bad_data, a tokenizer that the form cannot hold: an unknown model type, a normaliser hash that is not
// one, or more than 65,536 pieces.
Result<std::vector<std::byte>> write_tokenizer(const TokenizerData& tokenizer);
// Reads all of `in`; whatever is malformed or left over is bad_data. Memory is bounded by the bytes that are there.
Result<TokenizerData> read_tokenizer(ByteReader& in);

}  // namespace par5
