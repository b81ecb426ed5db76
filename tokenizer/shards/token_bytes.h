// The bpb denominator: how many bytes of normalised text each token is charged.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/tokenizer_data.h"

namespace par5 {

// The charged-bytes table of a tokenizer. A piece is charged the UTF-8 bytes after its initial "▁" (a further "▁"
// decodes to a space and is charged 1), plus one for that "▁" unless the previous token is a boundary (control,
// unknown, unused); a byte piece is charged 1; a boundary 0.
struct TokenBytes {
  std::vector<std::uint16_t> bytes;         // by id, without the leading space
  std::vector<std::uint8_t> leading_space;  // by id: 1 where the piece starts with "▁"
  std::vector<std::uint8_t> boundary;       // by id: 1 for control, unknown and unused pieces

  std::uint32_t charge(std::uint16_t previous, std::uint16_t token) const {
    return bytes[token] + (leading_space[token] && !boundary[previous] ? 1u : 0u);
  }
  std::size_t vocab() const { return bytes.size(); }
  bool operator==(const TokenBytes&) const = default;
};

// The table of a tokenizer that `check_tokenizer` accepts.
TokenBytes token_bytes(const TokenizerData& tokenizer);

// The identity of a tokenizer: SHA-256, in lower-case hexadecimal, of what its encodings follow from. Hashed are
// "par5 tokenizer 1\n"; the number of pieces; each piece's length and bytes, score (IEEE bits) and type (one byte);
// length and bytes of the model type ("bpe") and of the normaliser map's SHA-256 in hexadecimal (empty: no map); one
// byte each for add_dummy_prefix, remove_extra_whitespaces, escape_whitespaces and byte_fallback. Numbers are 32-bit
// little-endian. Training threads, paths and other notes in a .model file do not change it.
std::string tokenizer_sha256(const TokenizerData& tokenizer);

// Whether the pieces form a tokenizer that SentencePiece can load and par5 can charge: at most 65,536 pieces, each a
// distinct, non-empty, well-formed UTF-8 string with a finite score and a known type; exactly one unknown piece; all
// 256 byte pieces or none. `file` names the source in the bad_data error.
Status check_tokenizer(const TokenizerData& tokenizer, const std::string& file);

}  // namespace par5
