// The type of a run's matrix products.
#pragma once

#include <optional>

#include "core/error.h"
#include "train/trainer.h"

namespace par5 {

struct PrecisionChoice {
  Precision used = Precision::float32;  // never automatic
  MuonProducts muon_products = MuonProducts::floating;
  std::optional<ProductRates> rates;  // where they were measured for the choice
};

// What train.precision stands for in this run. `auto` is what the run.json of the run that is resumed or replayed
// records, so that it goes on bit for bit (bad_data without such a record); a new run measures, and takes bfloat16
// where its products are at least 1.1 times as fast. int8 is float32 and Muon's int16 floats where integers would be
// slow, which a warning says.
Result<PrecisionChoice> choose_precision(const TrainRequest& request);

// "float32", "bfloat16", "int8"
const char* precision_name(Precision precision);

}  // namespace par5
