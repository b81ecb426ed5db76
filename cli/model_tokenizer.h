// The tokenizer that a model's raw text is read with, and the shards that it makes of it.
#pragma once

#include <string>

#include "archive/artifact.h"
#include "cli/text_shards.h"
#include "core/file.h"
#include "eval/model_file.h"
#include "tokenizer/tokenizer.h"

namespace par5 {

// `file` (--tokenizer), else the artifact's own, else tokenizer.model beside the model; a usage error without any.
inline Result<Tokenizer> model_tokenizer(const std::string& model, const std::string& file, std::size_t threads) {
  if (!file.empty()) return Tokenizer::load(file);
  P5_TRY(const bool checkpoint, looks_like_safetensors(model));
  if (!checkpoint) {
    P5_TRY(DecodedArtifact decoded, read_artifact(model, threads));
    if (decoded.artifact.tokenizer) return Tokenizer::from_data(std::move(*decoded.artifact.tokenizer));
  }
  const std::string beside = join_path(parent_folder(model), "tokenizer.model");
  if (file_exists(beside)) return Tokenizer::load(beside);
  return usage_error("'" + model + "' holds no tokenizer, which raw text needs; name it with --tokenizer FILE",
                     "--tokenizer");
}

// `data` is a folder of shards, or text for that tokenizer.
inline Result<TextShards> model_shards(const std::string& data, const std::string& model, const std::string& file,
                                       std::size_t threads) {
  std::optional<Tokenizer> tokenizer;
  if (!is_shard_folder(data)) {
    P5_TRY(tokenizer, model_tokenizer(model, file, threads));
  }
  return TextShards::of(data, tokenizer, threads);
}

}  // namespace par5
