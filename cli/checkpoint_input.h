// What `pack` and `predict` read alike: a checkpoint with its configuration and its tokenizer.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "archive/artifact.h"
#include "cli/command.h"
#include "core/config.h"

namespace par5 {

struct CheckpointOptions {
  std::string checkpoint;
  std::string config;
  std::string tokenizer;
  std::optional<int> scale_bits;
  std::optional<int> effort;
  bool no_tokenizer = false;
};
void add_checkpoint_options(CLI::App& app, CheckpointOptions& options);

struct CheckpointInput {
  std::string path;                  // of the safetensors file
  Config config;                     // with the options applied
  std::vector<std::string> dropped;  // foreign tensors that carry nothing
  // Scales are fp16 still, whatever config.quantizer.scale_bits says; no self-test yet.
  Artifact artifact;
};
Result<CheckpointInput> read_checkpoint(const CheckpointOptions& options, std::size_t threads);

}  // namespace par5
