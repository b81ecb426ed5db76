// Any bytes ⇄ tokens and what the tokens do not say. SentencePiece's normalisation folds line breaks and runs of spaces
// and replaces characters; bytes that are no UTF-8 become byte pieces. The edits that lead from the tokens' text back
// to the source are coded beside them (docs/bitstream.md, "Changes").
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"
#include "tokenizer/tokenizer.h"

namespace par5 {

// At `position` of the tokens' text, `erased` bytes give way to `inserted`.
struct SourceEdit {
  std::size_t position = 0;
  std::size_t erased = 0;
  std::string inserted;
  bool operator==(const SourceEdit&) const = default;
};

struct SourceText {
  std::vector<std::uint16_t> tokens;  // without BOS
  std::string text;                   // what they decode to behind a BOS
  std::vector<SourceEdit> edits;      // in order, disjoint
  std::size_t byte_pieces = 0;        // tokens that stand for single bytes
};

// Source of at most 64 MiB. The edits applied to the text give the source.
Result<SourceText> tokenize_source(const Tokenizer& tokenizer, std::string_view source);

// The text that tokens decode to behind a BOS.
std::string token_text(const Tokenizer& tokenizer, std::span<const std::uint16_t> tokens);

// The edits as bytes; none for no edits.
std::vector<std::byte> encode_changes(std::string_view text, std::span<const SourceEdit> edits);
// The source. Bytes that are no such stream, or that lead to more than `most_bytes`, are bad_data.
Result<std::string> restore_source(std::string_view text, std::span<const std::byte> changes, std::uint64_t most_bytes);

}  // namespace par5
