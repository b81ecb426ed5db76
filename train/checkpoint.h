// Checkpoints: the model's weights as safetensors, and beside them the state that continuing a run bit for bit needs.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "core/config.h"
#include "model/latent.h"
#include "train/loader.h"
#include "train/optimizer.h"

namespace par5 {

// Where a run stands between two optimiser steps.
struct RunPosition {
  std::int64_t step = 0;    // finished optimiser steps
  std::int64_t tokens = 0;  // trained tokens
  double seconds = 0;       // of the training clock
  double loss = 0;          // mean cross-entropy that was logged last, in nats
  double best_bpb = 0;      // of the validations so far; 0: none yet
  std::int64_t optimizer_steps = 0;
  LoaderPosition loader;
};

// The weights alone, with the configuration in the metadata. No times and no paths: equal weights give equal bytes.
Status write_model(const std::string& path, const LatentWeights& latent, const LoadedConfig& config);

// The whole state of a run in one file of safetensors form: position and `identity` in the metadata, the tensors by
// name. It stands alone (weights included), so a run that is killed between its two files continues all the same.
Status write_state(const std::string& path, const RunPosition& position,
                   const std::map<std::string, std::string>& identity, const std::vector<NamedTensor>& tensors);

// Reads a state back into `tensors`, whose names, shapes and types it must have. `identity` must be what was written:
// a difference is a usage error that names the key and both values.
Result<RunPosition> read_state(const std::string& path, const std::map<std::string, std::string>& identity,
                               const std::vector<NamedTensor>& tensors);

}  // namespace par5
