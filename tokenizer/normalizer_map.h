// SentencePiece's precompiled normaliser maps: the built-in ones by name, and a check of foreign ones.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"

namespace par5 {

// The built-in rules that have a map: nmt_nfkc, nfkc, nmt_nfkc_cf, nfkc_cf. ("identity" has none.)
const std::vector<std::string>& builtin_normalizers();

struct BuiltinMap {
  std::string map;     // as SentencePiece stores it: trie size, double array, replacement strings
  std::string sha256;  // lower-case hexadecimal
};

// The map of a built-in rule, as the linked SentencePiece has it; made once per process. An unknown name is an
// internal error.
Result<const BuiltinMap*> builtin_map(const std::string& name);

// SentencePiece follows a map's double array and strings without bounds checks, so a map that is not built in is
// walked first: every node reachable must lie inside, no way may run in a circle, and every rule must end in a
// terminated UTF-8 string.
Status check_normalizer_map(std::string_view map, const std::string& file);

// What makes a built-in map into another: the rules that it lacks or has otherwise. SentencePiece's own compiler makes
// the other map from them, to the byte. Empty where that fails (a map that no rules make).
// Form: removed keys, each ended by a 0 byte, one more 0 byte, then key and replacement of every new or changed rule,
// each ended by a 0 byte; all in UTF-8, keys in ascending order.
Result<std::vector<std::uint8_t>> normalizer_changes(const std::string& builtin_name, std::string_view map);
// The other way; made once per process for the last changes. Changes in another form are bad_data.
Result<std::string> changed_map(const std::string& builtin_name, std::span<const std::uint8_t> changes);

}  // namespace par5
