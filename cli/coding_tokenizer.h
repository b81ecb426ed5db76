// The tokenizer that coded text is read with.
#pragma once

#include <optional>
#include <string>

#include "eval/coding/coded_text.h"
#include "tokenizer/tokenizer.h"

namespace par5 {

// The artifact's own, or the one of --tokenizer, which must have the hash that the artifact names; or none.
inline Result<std::optional<Tokenizer>> coding_tokenizer(const CodingModel& model, const std::string& file) {
  std::optional<Tokenizer> tokenizer;
  if (!file.empty()) {
    P5_TRY(tokenizer, Tokenizer::load(file));
    if (!model.artifact.tokenizer_sha256.empty() && tokenizer->sha256() != model.artifact.tokenizer_sha256)
      return usage_error("'" + file + "' is not the tokenizer that the artifact was made with", "--tokenizer");
  } else if (model.artifact.tokenizer) {
    P5_TRY(tokenizer, Tokenizer::from_data(*model.artifact.tokenizer));
  }
  return tokenizer;
}

}  // namespace par5
