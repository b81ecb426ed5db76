// What a run says about its course: lines of metrics.jsonl, the TensorBoard events derived from them, one line of
// progress.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/config.h"
#include "core/progress.h"
#include "train/checkpoint.h"
#include "train/level_report.h"
#include "train/run_folder.h"
#include "train/schedule.h"
#include "train/size_estimate.h"

namespace par5 {

class RunRecorder {
 public:
  // `start` is where this session begins; `rate` the learning rate that lines and progress show, before the schedule's
  // factor; `cap_bytes` the budget that the predicted size is shown against, 0: none.
  RunRecorder(const Config& config, MetricsLog metrics, const RunPosition& start, double rate, std::uint64_t cap_bytes);

  void add_step(const StepPlan& plan, double loss);
  bool empty() const { return losses_.empty(); }
  // A line over the steps since the one before: mean loss (also put into `position`), rates, levels, predicted size and
  // the realised schedule.
  Status write_steps(RunPosition& position, const StoredModel& stored);
  // Any other line; "step" is put first.
  Status write(std::int64_t step, nlohmann::ordered_json line);
  void show(const RunPosition& position, double progress);

 private:
  const Config& config_;
  MetricsLog metrics_;
  double rate_;
  std::uint64_t cap_bytes_;
  Progress progress_;
  LevelReporter levels_;
  // Of the steps since the last line.
  std::vector<double> losses_, factors_, progresses_;
  std::int64_t tokens_ = 0;
  double momentum_ = 0, start_seconds_ = 0;
  long start_faults_ = 0;
  // Of the last line, for the line of progress.
  double tokens_per_second_ = 0, shown_factor_ = 1;
  SizeEstimate size_;
  int last_tenth_ = 0;
};

// The moments of every step that a run folder's metrics recorded. A run without them, or with a gap, is bad_data.
Result<std::vector<Moment>> read_realized_schedule(const std::string& run_folder);

// Writes the TensorBoard events of a metrics.jsonl; times are those of the training clock.
Status write_tensorboard(const std::string& metrics, const std::string& events);

}  // namespace par5
