// The text of an evaluation as tokens, with what is needed to charge it in bytes.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/error.h"
#include "tokenizer/shards/shards.h"

namespace par5 {

struct EvalData {
  std::vector<std::uint16_t> tokens;  // one stream; each document = BOS + its tokens
  TokenBytes token_bytes;
  std::uint16_t bos = 1;
  std::string tokenizer_sha256;
  std::int64_t available_targets = 0;        // targets of the whole folder
  std::optional<std::int64_t> source_bytes;  // raw bytes of the source; only where all of the folder is here

  std::int64_t targets() const { return static_cast<std::int64_t>(tokens.size()) - 1; }
};

// Reads a folder of shards: all of it, or its first max_targets targets (0: all). A folder without a target is
// bad_data; so is what ShardReader refuses (other counts or charged bytes than the manifest's, ids beyond its table).
Result<EvalData> load_eval_data(const std::string& folder, std::int64_t max_targets);

// Bytes that one target is charged.
inline std::uint32_t target_bytes(const EvalData& data, std::int64_t target) {
  const auto t = static_cast<std::size_t>(target);
  return data.token_bytes.charge(data.tokens[t - 1], data.tokens[t]);
}
// SHA-256, in hexadecimal, of tokens 0 … targets as 16-bit little-endian numbers.
std::string token_sha256(const EvalData& data, std::int64_t targets);
// Bytes that targets 1 … targets are charged.
std::int64_t charged_bytes(const EvalData& data, std::int64_t targets);
// Documents that own at least one of the targets 1 … targets; a BOS belongs to the document that it ends.
std::int64_t document_count(const EvalData& data, std::int64_t targets);

// The data must be made for the model: the same vocabulary and, where both are known, the same tokenizer.
Status check_vocabulary(const EvalData& data, std::int64_t model_vocab, const std::string& model_tokenizer_sha256);

}  // namespace par5
