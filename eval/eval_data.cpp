#include "eval/eval_data.h"

#include <algorithm>
#include <span>

#include "core/hash.h"

namespace par5 {

Result<EvalData> load_eval_data(const std::string& folder, std::int64_t max_targets) {
  P5_TRY(const ShardReader reader, ShardReader::open(folder));
  const ShardManifest& manifest = reader.manifest();
  const auto all = static_cast<std::int64_t>(reader.tokens());
  if (all < 2) return bad_data("there is nothing to score: the shards hold " + std::to_string(all) + " tokens", folder);

  EvalData data;
  data.available_targets = all - 1;
  const std::int64_t wanted = max_targets > 0 ? std::min(max_targets, all - 1) : all - 1;
  data.tokens.resize(static_cast<std::size_t>(wanted) + 1);
  reader.read(0, data.tokens);
  data.token_bytes = manifest.token_bytes;
  data.bos = manifest.bos;
  data.tokenizer_sha256 = manifest.tokenizer_sha256;
  if (wanted == data.available_targets) data.source_bytes = static_cast<std::int64_t>(manifest.source_bytes);
  return data;
}

std::string token_sha256(const EvalData& data, std::int64_t targets) {
  return sha256_hex(std::as_bytes(std::span(data.tokens).first(static_cast<std::size_t>(targets) + 1)));
}

std::int64_t charged_bytes(const EvalData& data, std::int64_t targets) {
  std::int64_t bytes = 0;
  for (std::int64_t t = 1; t <= targets; ++t) bytes += target_bytes(data, t);
  return bytes;
}

std::int64_t document_count(const EvalData& data, std::int64_t targets) {
  return (data.tokens[0] == data.bos ? 0 : 1) +
         std::count(data.tokens.begin(), data.tokens.begin() + targets, data.bos);
}

Status check_vocabulary(const EvalData& data, std::int64_t model_vocab, const std::string& model_tokenizer_sha256) {
  if (static_cast<std::int64_t>(data.token_bytes.vocab()) != model_vocab)
    return bad_data("the data was made with a vocabulary of " + std::to_string(data.token_bytes.vocab()) +
                    " pieces, but the model has " + std::to_string(model_vocab));
  if (!model_tokenizer_sha256.empty() && !data.tokenizer_sha256.empty() &&
      model_tokenizer_sha256 != data.tokenizer_sha256)
    return bad_data("the data was made with another tokenizer (" + data.tokenizer_sha256.substr(0, 12) +
                    "…) than the model's (" + model_tokenizer_sha256.substr(0, 12) + "…)");
  return {};
}

}  // namespace par5
