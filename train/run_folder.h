// The folder of a run: config.toml (effective, with origins), run.json (facts), metrics.jsonl (truth about the course),
// model.safetensors (latent weights), state.bin (what continuing needs beside them), tokenizer.model where known.
#pragma once

#include <cstdint>
#include <string>

#include "core/error.h"
#include "core/file.h"

namespace par5 {

class RunFolder {
 public:
  // A new run. A folder that holds files is a usage error without Overwrite::yes; with it the files of the earlier run
  // are removed, and nothing else.
  static Result<RunFolder> create(const std::string& path, Overwrite overwrite);
  // A run that continues; a folder without a checkpoint is a usage error.
  static Result<RunFolder> resume(const std::string& path);

  const std::string& path() const { return path_; }
  std::string config() const { return join_path(path_, "config.toml"); }
  std::string facts() const { return join_path(path_, "run.json"); }
  std::string metrics() const { return join_path(path_, "metrics.jsonl"); }
  std::string model() const { return join_path(path_, "model.safetensors"); }
  std::string state() const { return join_path(path_, "state.bin"); }
  std::string tokenizer() const { return join_path(path_, "tokenizer.model"); }
  // TensorBoard's file, derived from the metrics.
  std::string events() const { return join_path(path_, "events.out.tfevents.par5"); }
  // The weights of the best validation, with train.keep_best.
  std::string best_model() const { return join_path(path_, "model-best.safetensors"); }
  // An earlier checkpoint's weights, with train.keep_checkpoints > 1.
  std::string earlier_model(std::int64_t step) const;
  // Removes all but the newest `count` earlier checkpoints.
  Status prune_earlier_models(std::int64_t count) const;

 private:
  explicit RunFolder(std::string path) : path_(std::move(path)) {}
  std::string path_;
};

// metrics.jsonl: one JSON object a line, each on disk before the next step begins.
class MetricsLog {
 public:
  // Lines whose "step" lies after `last_step` are dropped first: a run that continues writes them anew. A half-written
  // last line is dropped as well.
  static Result<MetricsLog> open(const std::string& path, std::int64_t last_step);
  MetricsLog(MetricsLog&& other) noexcept;
  MetricsLog& operator=(MetricsLog&&) = delete;
  ~MetricsLog();
  Status append(std::string line);

 private:
  MetricsLog(std::string path, int descriptor) : path_(std::move(path)), descriptor_(descriptor) {}
  std::string path_;
  int descriptor_ = -1;
};

}  // namespace par5
