// The model of an evaluation, from either kind of file.
#pragma once

#include <string>
#include <vector>

#include "archive/artifact.h"
#include "core/error.h"
#include "pack/stored_model.h"

namespace par5 {

// A stored model with the facts that evaluation needs. A checkpoint is quantised here, once; an artifact's codes and
// scales are taken as they are.
struct EvalModel {
  StoredModel stored;
  double temperature = 1.0;      // fitted when packing; logits are divided by it
  std::string tokenizer_sha256;  // empty: the file does not say
  bool is_artifact = false;
  std::vector<NamedEntry> extras;  // an artifact's
};

// Reads a .par5 artifact or a safetensors checkpoint; what the file is decides, not its name. `config_path` (may be
// empty) gives the architecture of foreign safetensors, and `assignments` ("model.rope_angles=bfloat16") change a
// checkpoint's model and quantiser sections. An artifact takes no such assignments: a usage error.
Result<EvalModel> load_eval_model(const std::string& path, const std::string& config_path,
                                  const std::vector<std::string>& assignments, std::size_t threads);

// Whether the file begins like safetensors: a header length that fits the file, then a JSON object.
Result<bool> looks_like_safetensors(const std::string& path);

}  // namespace par5
