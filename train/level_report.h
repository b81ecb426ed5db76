// How the quantised weights stand and move between two lines of metrics.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "pack/stored_model.h"

namespace par5 {

struct LevelReport {
  std::vector<double> shares;   // by level, from -max_code to +max_code, over all quantised weights
  std::optional<double> churn;  // share of the weights whose level changed since the report before
};

class LevelReporter {
 public:
  // Every report of a run has the same tensors.
  LevelReport report(const StoredModel& stored);

 private:
  std::vector<std::int8_t> previous_;
};

}  // namespace par5
