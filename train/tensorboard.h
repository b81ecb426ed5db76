// TensorBoard event files: scalars as TensorFlow's record format has them, so that any TensorBoard shows a run. They
// are derived from metrics.jsonl, which is the truth.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/error.h"

namespace par5 {

// One record of scalars at a step. `seconds` is wall-clock time since 1970.
std::string tensorboard_record(double seconds, std::int64_t step,
                               const std::vector<std::pair<std::string, double>>& scalars);
// The record that begins every file.
std::string tensorboard_header(double seconds);

// CRC-32C (Castagnoli) of bytes, as the record format masks it.
std::uint32_t masked_crc32c(std::string_view bytes);

}  // namespace par5
