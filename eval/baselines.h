// General-purpose compressors on the same text: the yardstick beside a model's bpb. They need no training data and no
// artifact, and get the whole text at once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/error.h"

namespace par5 {

struct Baseline {
  std::string name;  // "xz -9e"
  std::uint64_t compressed_bytes = 0;
  double bpb = 0;  // compressed bits per byte of text
};

// xz -9e, zstd -19 and brotli -q 11, by their libraries, each over the whole text as one stream. Empty text is
// bad_data.
Result<std::vector<Baseline>> compressor_baselines(std::span<const std::byte> text, std::size_t threads);

}  // namespace par5
