// SentencePiece's .model files ⇄ TokenizerData. Reading is our own and safe on hostile bytes.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/tokenizer_data.h"

namespace par5 {

struct ModelFile {
  TokenizerData tokenizer;
  // What the file says about its training, by SentencePiece's names, in the file's order: {"character_coverage",
  // "0.999"}.
  std::vector<std::pair<std::string, std::string>> options;
  std::uint64_t bytes = 0;  // of the file
};

// Parses and checks (check_tokenizer, check_normalizer_map). A built-in normaliser is recognised by its map's hash and
// kept by name. Errors: bad_data with `file` and the offset; also where the model uses what par5 does not support (a
// denormaliser, spaces at the ends of pieces, a BOS piece other than "<s>").
Result<ModelFile> parse_model(std::string_view bytes, const std::string& file);
Result<ModelFile> read_model_file(const std::string& path);

// Puts changes to a built-in normaliser in the place of a whole map where that makes the same map: a few kilobytes for
// 240. What the tokenizer does and its SHA-256 stay the same. Takes a second or two, so it is done only for storing.
Status compact_normalizer(TokenizerData& tokenizer);

// The .model file of a tokenizer: what SentencePiece needs to encode and decode as the original did, the normaliser map
// in it. Error: bad_data where the linked SentencePiece's built-in map is not the one that the tokenizer was made with.
Result<std::string> serialize_model(const TokenizerData& tokenizer);

// A tokenizer with the same normaliser and user-defined pieces that splits text into characters (rare ones into bytes):
// the concatenated pieces of its encoding are the normalised text.
TokenizerData character_tokenizer(const TokenizerData& tokenizer);

}  // namespace par5
