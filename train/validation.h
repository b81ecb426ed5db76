// Plain chunked bits per byte over shards: disjoint windows, every target once, the tail included.
#pragma once

#include <cstdint>
#include <functional>

#include "model/network.h"
#include "tokenizer/shards/shards.h"

namespace par5 {

struct ChunkedScore {
  double nats = 0;
  std::uint64_t bytes = 0;    // charged
  std::uint64_t targets = 0;
  double bits_per_byte() const;
};

struct ChunkedOptions {
  std::int64_t window = 1024;          // tokens of context; a window sees nothing before its first token
  std::int64_t batch_tokens = 16384;   // tokens in one forward pass
  std::uint64_t max_targets = 0;       // 0: all
  std::function<bool()> stop;          // asked between forward passes; true ends with `interrupted`
};

// Every token but the first is a target once. The network's effective weights are used as they are. No target that
// is charged a byte is bad_data.
Result<ChunkedScore> score_chunked(Network& network, const ShardReader& shards, const ChunkedOptions& options);

}  // namespace par5
