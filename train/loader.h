// Training batches: windows of (sequence + 1) tokens over a folder of shards, in an order that depends on the seed
// alone and can be continued from a saved position.
#pragma once

#include <cstdint>
#include <vector>

#include "core/config.h"
#include "model/tensor.h"
#include "tokenizer/shards/shards.h"

namespace par5 {

// [windows, sequence] int64 on the CPU; targets are the inputs' next tokens.
struct Batch {
  torch::Tensor inputs;
  torch::Tensor targets;
};

// Where the next window comes from.
struct LoaderPosition {
  std::int64_t epoch = 0;
  std::int64_t window = 0;  // windows of this epoch already given out
  bool operator==(const LoaderPosition&) const = default;
};

// Windows start every `sequence` tokens, so each token of an epoch is a target once (but for the first and a tail
// shorter than a window). sequential: front to back, again from the front at the end. shuffled_windows: every epoch
// has its own permutation and its own offset of 0 … sequence − 1 tokens, both drawn from seed and epoch. Shorter
// windows are parts of these; those of kBlock windows are given out in an order of their own, so that a batch comes
// from many places. Where the length changes within a block, some of the block's parts come twice and some not at all.
class Loader {
 public:
  // Fewer tokens than one window is bad_data. `shards` must outlive the loader.
  static Result<Loader> create(const ShardReader& shards, Order order, std::int64_t sequence, std::uint64_t seed);

  static constexpr std::int64_t kBlock = 1024;

  // The next `windows` windows' tokens, in windows of `length`, a divisor of `sequence` (0: sequence itself); crosses
  // into the next epoch where this one ends.
  Batch next(std::int64_t windows, std::int64_t length = 0);

  const LoaderPosition& position() const { return position_; }
  void seek(const LoaderPosition& position);
  // Windows of the current epoch.
  std::int64_t windows() const { return static_cast<std::int64_t>(starts_.size()); }

 private:
  Loader(const ShardReader& shards, Order order, std::int64_t sequence, std::uint64_t seed);
  void begin_epoch(std::int64_t epoch);
  // Where the next window's part of that number starts, of `parts`.
  std::uint64_t part_start(std::int64_t part, std::int64_t parts);

  const ShardReader* shards_;
  Order order_;
  std::int64_t sequence_;
  std::uint64_t seed_;
  LoaderPosition position_;
  std::vector<std::uint64_t> starts_;  // stream positions of the epoch's windows, in order
  struct {
    std::int64_t epoch = -1, block = 0, parts = 0;
    std::vector<std::uint32_t> order;  // window in the block · parts + part
  } block_;                            // the last that part_start shuffled
  std::vector<std::uint16_t> scratch_;
};

// SplitMix64 (Steele, Lea, Flood 2014): the same numbers on every machine, unlike the standard library's shuffles.
class SplitMix64 {
 public:
  explicit SplitMix64(std::uint64_t seed) : state_(seed) {}
  std::uint64_t next();
  // Uniform in [0, bound), bound > 0.
  std::uint64_t below(std::uint64_t bound);

 private:
  std::uint64_t state_;
};

}  // namespace par5
