#include "train/loader.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "core/text.h"

namespace par5 {

std::uint64_t SplitMix64::next() {
  state_ += 0x9e3779b97f4a7c15u;
  std::uint64_t z = state_;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

std::uint64_t SplitMix64::below(std::uint64_t bound) {
  // 2^64 mod bound values would be drawn once more often than the others: draw again for those.
  const std::uint64_t excess = (0 - bound) % bound;
  for (;;)
    if (const std::uint64_t value = next(); value >= excess) return value % bound;
}

Result<Loader> Loader::create(const ShardReader& shards, Order order, std::int64_t sequence, std::uint64_t seed) {
  const auto window = static_cast<std::uint64_t>(sequence) + 1;
  if (shards.tokens() < window)
    return bad_data("the training data holds " + grouped(static_cast<std::int64_t>(shards.tokens())) +
                        " tokens, but one window of train.sequence = " + std::to_string(sequence) + " needs " +
                        grouped(static_cast<std::int64_t>(window)) + "; give more text or a shorter sequence",
                    {}, std::nullopt, "train.sequence");
  return Loader(shards, order, sequence, seed);
}

Loader::Loader(const ShardReader& shards, Order order, std::int64_t sequence, std::uint64_t seed)
    : shards_(&shards), order_(order), sequence_(sequence), seed_(seed) {
  begin_epoch(0);
}

void Loader::begin_epoch(std::int64_t epoch) {
  position_ = {epoch, 0};
  if (order_ == Order::sequential && !starts_.empty()) return;
  const auto sequence = static_cast<std::uint64_t>(sequence_);
  const std::uint64_t spare = shards_->tokens() - 1 - sequence;  // tokens beyond one window
  SplitMix64 random(SplitMix64(seed_).next() ^ static_cast<std::uint64_t>(epoch));
  const std::uint64_t offset =
      order_ == Order::shuffled_windows ? random.below(std::min(sequence - 1, spare) + 1) : std::uint64_t{0};
  starts_.resize((spare - offset) / sequence + 1);
  for (std::size_t i = 0; i < starts_.size(); ++i) starts_[i] = offset + i * sequence;
  if (order_ == Order::sequential) return;
  for (std::size_t i = starts_.size(); i > 1; --i) std::swap(starts_[i - 1], starts_[random.below(i)]);
}

void Loader::seek(const LoaderPosition& position) {
  begin_epoch(position.epoch);
  position_.window = std::clamp<std::int64_t>(position.window, 0, windows());
}

std::uint64_t Loader::part_start(std::int64_t part, std::int64_t parts) {
  const std::int64_t length = sequence_ / parts, block = position_.window / kBlock, first = block * kBlock;
  std::int64_t place = (position_.window - first) * parts + part;
  if (order_ == Order::shuffled_windows && parts > 1) {
    if (block_.epoch != position_.epoch || block_.block != block || block_.parts != parts) {
      block_.epoch = position_.epoch, block_.block = block, block_.parts = parts;
      block_.order.resize(static_cast<std::size_t>(std::min(kBlock, windows() - first) * parts));
      std::iota(block_.order.begin(), block_.order.end(), 0u);
      SplitMix64 random(SplitMix64(seed_).next() ^ SplitMix64(static_cast<std::uint64_t>(position_.epoch)).next() ^
                        static_cast<std::uint64_t>(block));
      for (std::size_t i = block_.order.size(); i > 1; --i)
        std::swap(block_.order[i - 1], block_.order[random.below(i)]);
    }
    place = block_.order[static_cast<std::size_t>(place)];
  }
  return starts_[static_cast<std::size_t>(first + place / parts)] + static_cast<std::uint64_t>(place % parts * length);
}

Batch Loader::next(std::int64_t windows, std::int64_t length) {
  if (length == 0) length = sequence_;
  const std::int64_t parts = sequence_ / length;
  Batch batch{torch::empty({windows * parts, length}, torch::kInt64),
              torch::empty({windows * parts, length}, torch::kInt64)};
  scratch_.resize(static_cast<std::size_t>(length) + 1);
  auto* inputs = batch.inputs.data_ptr<std::int64_t>();
  auto* targets = batch.targets.data_ptr<std::int64_t>();
  for (std::int64_t row = 0; row < windows; ++row) {
    if (position_.window == this->windows()) begin_epoch(position_.epoch + 1);
    for (std::int64_t part = 0; part < parts; ++part) {
      shards_->read(part_start(part, parts), scratch_);
      inputs = std::copy(scratch_.begin(), scratch_.end() - 1, inputs);
      targets = std::copy(scratch_.begin() + 1, scratch_.end(), targets);
    }
    ++position_.window;
  }
  return batch;
}

}  // namespace par5
