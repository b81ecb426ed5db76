// A training run from configuration and shards to a checkpoint in a run folder.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "core/cancel.h"
#include "core/config.h"
#include "core/error.h"
#include "core/file.h"
#include "model/tensor.h"

namespace par5 {

struct TrainRequest {
  LoadedConfig config;
  std::string data;        // folder of shards
  std::string validation;  // folder of shards, or empty
  std::string run_folder;
  bool resume = false;
  Overwrite overwrite = Overwrite::no;
  torch::Device device = torch::kCPU;
  std::string version;  // of the program, for run.json
  // Asked between micro-batches; true means: write a checkpoint and end as interrupted.
  std::function<bool()> stop = cancelled;
};

struct TrainReport {
  std::int64_t steps = 0;
  std::int64_t tokens = 0;
  double train_seconds = 0;  // on the training clock: first step to last, over all sessions of a resumed run
  double tokens_per_second = 0;
  double final_loss = 0;  // mean cross-entropy in nats over the steps since the line of metrics before the last
  std::optional<double> val_bpb;
  std::uint64_t predicted_bytes = 0;
  std::string predicted_by;  // what predicted_bytes counts
};

// Runs until train.steps or train.max_seconds, whichever is first; a step that would end after max_seconds (by the
// mean of the steps so far) is not begun. Runs that are bounded by steps alone give the same checkpoint bytes every
// time, for the same machine, threads and LibTorch, resumed or not.
// Errors: usage (folder exists, vocabulary or resumed settings do not fit), bad_data (shards), check_failed (the loss
// or a weight is not finite, or the loss diverged; the last checkpoint is kept), interrupted (after a checkpoint), io.
Result<TrainReport> train(const TrainRequest& request);

}  // namespace par5
