// The pieces of a SentencePiece .model file, and the text that their ids stand for: all that showing tokens needs,
// without SentencePiece.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/protobuf.h"
#include "core/tokenizer_data.h"

namespace par5 {

// One piece from its message in the file.
Result<TokenizerPiece> parse_piece(const ProtobufField& message);

// All pieces of a .model file, by id. bad_data with the offset where it is no such file.
Result<std::vector<TokenizerPiece>> read_pieces(const std::string& path);

// The text of token ids: "▁" is a space, byte pieces are their byte, control pieces nothing. Ids beyond the pieces are
// left out. The result need not be UTF-8.
std::string text_of(const std::vector<TokenizerPiece>& pieces, std::span<const std::uint16_t> ids);

}  // namespace par5
