// What the weights would take as an artifact, while they are being trained.
#pragma once

#include <cstdint>

#include "core/error.h"
#include "pack/stored_model.h"

namespace par5 {

struct SizeEstimate {
  std::uint64_t bytes = 0;  // of the artifact without its tokenizer
  double zero_share = 0;    // of the quantised weights
};
// By predict_size's closed forms, which code nothing but scales and vectors.
Result<SizeEstimate> estimate_size(const StoredModel& stored);

}  // namespace par5
