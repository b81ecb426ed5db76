// Internal to archive/: how every stream is stored. The choice is deterministic: the same streams, effort and codecs
// give the same bytes for any number of threads, unless a time limit cuts it short.
#pragma once

#include <cstdint>
#include <vector>

#include "archive/artifact.h"
#include "archive/streams.h"

namespace par5 {

// The bytes of the streams that are no tensors.
struct OtherStreams {
  std::vector<std::byte> tokenizer;
  std::vector<std::byte> self_test;
};

// One entry of the directory with its bytes: a stream, or a chain of streams.
struct ChosenEntry {
  std::vector<std::size_t> slots;  // in ascending order
  Codec codec = Codec::raw;
  Layout layout = Layout::bytes;
  int chain = 0;
  std::vector<std::byte> stored;
  std::uint64_t raw_bytes = 0;
  std::uint32_t checksum = 0;
};

struct Choice {
  std::vector<ChosenEntry> entries;  // in the order of the file
  std::vector<Trial> trials;
  bool cut = false;  // by options.max_seconds
};
Result<Choice> choose_entries(const Artifact& artifact, const OtherStreams& other, const std::vector<StreamSlot>& slots,
                              const std::vector<TensorSpec>& specs, const EncodeOptions& options);

}  // namespace par5
