// A training run from configuration and shards to a checkpoint in a run folder.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "core/cancel.h"
#include "core/config.h"
#include "core/error.h"
#include "core/file.h"
#include "model/product_rate.h"
#include "model/tensor.h"

namespace par5 {

struct TrainRequest {
  LoadedConfig config;
  std::string data;        // folder of shards
  std::string validation;  // folder of shards, or empty
  std::string run_folder;
  bool resume = false;
  std::string replay;           // run folder whose realised schedule is repeated step by step, or empty
  std::uint64_t cap_bytes = 0;  // the budget that progress shows the predicted size against; 0: none
  Overwrite overwrite = Overwrite::no;
  torch::Device device = torch::kCPU;
  // Where the training clock starts, e.g. when the process did; otherwise with the first step. A resumed run's clock
  // goes on where it was.
  std::optional<std::chrono::steady_clock::time_point> clock_start;
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
  // Of this session's steps, without validation and checkpoints.
  Precision precision = Precision::float32;  // of the matrix products
  ProductRates product_rates;                // of this machine
  double flops_per_second = 0;
  double page_faults_per_step = 0;
  std::vector<std::string> unmoved;  // tensors that the first steps did not move at all
};

// Runs until train.steps or train.max_seconds, whichever is first; a step that would end after max_seconds, were it as
// long as the longest of the last eight, is not begun. Runs that are bounded by steps alone give the same checkpoint
// bytes every time, for the same machine, threads and LibTorch, resumed or not; so does a run that replays another's
// schedule. Errors: usage (folder exists, vocabulary or resumed settings do not fit), bad_data (shards), check_failed
// (the loss or a weight is not finite, or the loss diverged; the last checkpoint is kept), interrupted (after a
// checkpoint), io.
Result<TrainReport> train(const TrainRequest& request);

}  // namespace par5
