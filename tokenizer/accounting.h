// The account of a document: its tokens, the bytes they are charged, and what normalisation did to its source bytes.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"
#include "tokenizer/tokenizer.h"

namespace par5 {

// Where source bytes and charged bytes differ, by kind. source bytes - charged bytes = the sum of the three byte
// fields, exactly. Whitespace and other characters are told apart token by token.
struct NormalizationChange {
  std::int64_t edge_bytes = 0;        // whitespace dropped at the start and end of documents
  std::int64_t whitespace_bytes = 0;  // inside: runs merged into one space, wide spaces made narrow
  std::int64_t character_bytes = 0;   // other characters: replaced by shorter (or longer) forms, or dropped
  std::uint64_t line_breaks = 0;      // line breaks inside that became a space or vanished beside one (a count)
  std::uint64_t changed_tokens = 0;  // tokens whose characters other than whitespace differ from their source (a count)

  std::int64_t bytes() const { return edge_bytes + whitespace_bytes + character_bytes; }
  NormalizationChange& operator+=(const NormalizationChange& other);
};

struct DocumentAccount {
  std::vector<std::uint16_t> tokens;   // BOS first
  std::uint64_t charged_bytes = 0;     // by the leading-space rule
  std::uint64_t decoded_bytes = 0;     // of the tokens' text
  std::uint64_t normalized_bytes = 0;  // of normalise(source)
  std::uint64_t source_bytes = 0;
  NormalizationChange change;  // meaningful where `fault` is empty
  // Why charged = decoded = normalise(source) does not hold, as a sentence; empty where it does. Texts are compared
  // byte for byte, and SentencePiece's own decoder must agree (but for spaces at the start, which it drops).
  std::string fault;
  std::string fault_id;              // "unknown_pieces", "no_space_piece", "text_differs"; empty as `fault`
  std::uint64_t folded_letters = 0;  // capital ASCII letters of the source that the normaliser has made small
};

// Errors: bad_data where the tokenizer has no BOS, resource_limit for a text that is too long.
Result<DocumentAccount> account_document(const Tokenizer& tokenizer, std::string_view text);

}  // namespace par5
