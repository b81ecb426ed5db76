// What the weights would take as an artifact, while they are being trained.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "core/config.h"
#include "pack/stored_model.h"

namespace par5 {

struct SizeEstimate {
  std::uint64_t bytes = 0;  // order-0 entropy of codes, scales and float bytes; no tokenizer, no metadata
  double zero_share = 0;    // of the quantised weights
};
SizeEstimate estimate_size(const StoredModel& stored);

}  // namespace par5
