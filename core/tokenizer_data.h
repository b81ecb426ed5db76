// A tokenizer as data: what an artifact carries so that its text commands need no other file. tokenizer/ converts it
// from and to SentencePiece's .model form; archive/ only stores it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace par5 {

struct TokenizerPiece {
  std::string piece;
  float score = 0;
  std::uint8_t type = 1;  // SentencePiece's: 1 normal, 2 unknown, 3 control, 4 user defined, 5 unused, 6 byte
  bool operator==(const TokenizerPiece&) const = default;
};

struct TokenizerData {
  std::vector<TokenizerPiece> pieces;
  std::string model_type = "bpe";  // bpe | unigram | word | char
  std::string normalizer;          // a built-in rule's name ("nmt_nfkc"), or empty
  // Where the map is not a built-in one: the map itself, or, beside a built-in rule's name, the changes to its map that
  // give this one (tokenizer/normalizer_map.h).
  std::vector<std::uint8_t> normalizer_map;
  std::string normalizer_sha256;  // of the precompiled map, built in or not; empty: no map
  bool add_dummy_prefix = false;
  bool remove_extra_whitespaces = true;
  bool escape_whitespaces = true;
  bool byte_fallback = true;
  std::string unknown_surface;  // what unknown pieces decode to
  bool operator==(const TokenizerData&) const = default;
};

}  // namespace par5
