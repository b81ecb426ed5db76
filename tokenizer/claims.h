// What somebody else says that a text is charged, held against the text: a table of bytes a piece, bytes a token, the
// tokens that were scored, or sums alone. The known ways to charge wrongly are told apart by what they change.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/error.h"
#include "tokenizer/accounting.h"
#include "tokenizer/tokenizer.h"

namespace par5 {

// Bytes by piece id. Without the second column `bytes` holds the whole piece, its leading space included.
struct PieceCharges {
  std::vector<std::uint32_t> bytes;
  std::vector<std::uint8_t>
      leading_space;  // one byte more unless the token before is a boundary; empty: no such column
};

struct TextClaim {
  std::optional<PieceCharges> pieces;
  std::optional<std::vector<std::uint16_t>> token_bytes;  // of the text's tokens, BOS included, in order
  std::optional<std::vector<std::uint16_t>> tokens;       // that were scored, each document with its BOS
  // Sums. `targets`, else `documents`, is also the slice of the text that the charges are held against: so many from
  // its start.
  std::optional<std::uint64_t> targets, bytes, documents;
};

// A table of bytes a piece or a token into `claim`:
//  - .bin: the shard header, then 16-bit numbers, one a piece where there are as many as pieces, else one a token;
//  - else text, a row a piece, columns by tabs or commas: (id, bytes), (piece, bytes), (id, piece, bytes), or any order
//  that a
//    header of such names gives, with "leading_space" (0 or 1) where bytes are counted without it.
// bad_data names the line; a table that leaves pieces out is refused.
Status read_charges(const std::string& path, const Tokenizer& tokenizer, TextClaim& claim);
// Token shards with or without a manifest: a .bin file, or a folder of them, in the order of their names.
Result<std::vector<std::uint16_t>> read_token_shards(const std::string& path);

// ids: leading_space_twice, leading_space_as_mark, leading_space_not_charged, byte_fallback_as_3, byte_fallback_as_6,
// byte_fallback_not_charged, no_space_piece, unknown_pieces, sentinels_charged, control_charged, case_folded,
// tail_dropped, tail_duplicated, documents, text_differs, source_bytes, other_bytes.
struct ClaimFault {
  std::string id;
  std::string evidence;
  std::int64_t bytes = 0;  // charged too many; 0 where that is not what is wrong
};

// Bytes of tokens, by what faults change. Targets: all tokens but the very first.
struct ChargedCounts {
  std::uint64_t tokens = 0;
  std::uint64_t bytes = 0;   // right
  std::uint64_t spaces = 0;  // leading spaces that are charged
  std::uint64_t byte_pieces = 0;
  std::uint64_t sentinel_bytes = 0;  // of private-use characters in pieces of the vocabulary; not in `bytes`
  std::uint64_t control_bytes = 0;   // that the names of control pieces would take
};

// Takes the documents of a text one by one, in order. The tokenizer must outlive it.
class ClaimCheck {
 public:
  ClaimCheck(const Tokenizer& tokenizer, TextClaim claim);
  ~ClaimCheck();
  Status add(const DocumentAccount& document);
  // After the last document. Empty: nothing is wrong.
  std::vector<ClaimFault> finish();
  // Of the scored slice.
  const ChargedCounts& scored() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace par5
