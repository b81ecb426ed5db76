// How reports show what normalisation changed.
#pragma once

#include <nlohmann/json.hpp>
#include <vector>

#include "cli/table.h"
#include "core/text.h"
#include "tokenizer/accounting.h"

namespace par5 {

inline std::string count(std::uint64_t value) { return grouped(static_cast<std::int64_t>(value)); }

inline nlohmann::ordered_json to_json(const NormalizationChange& change) {
  return {{"bytes", change.bytes()},
          {"edge_bytes", change.edge_bytes},
          {"whitespace_bytes", change.whitespace_bytes},
          {"character_bytes", change.character_bytes},
          {"line_breaks", change.line_breaks},
          {"changed_tokens", change.changed_tokens}};
}

inline std::vector<TableRow> to_rows(const NormalizationChange& change) {
  return {{"lost to normalisation", grouped(change.bytes()) + " bytes, of which"},
          {"  at the ends", grouped(change.edge_bytes) + " (whitespace around documents)"},
          {"  whitespace",
           grouped(change.whitespace_bytes) + " (runs merged; " + count(change.line_breaks) + " line breaks folded)"},
          {"  characters",
           grouped(change.character_bytes) + " (other forms, in " + count(change.changed_tokens) + " tokens)"}};
}

}  // namespace par5
