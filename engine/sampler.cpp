#include "engine/sampler.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace par5 {
namespace {

constexpr int kBits = 40;  // of the likeliest token's frequency

}  // namespace

Result<Sampler> Sampler::create(const SamplingOptions& options) {
  if (!(options.temperature >= 0 && options.temperature <= 1e6))
    return usage_error("a temperature is 0 … 1,000,000", "--temperature");
  if (!(options.top_p > 0 && options.top_p <= 1)) return usage_error("top-p is above 0 and at most 1", "--top-p");
  if (!(options.min_p >= 0 && options.min_p <= 1)) return usage_error("min-p is 0 … 1", "--min-p");
  return Sampler(options);
}

// Uniform in [0, bound), without bias.
std::uint64_t Sampler::below(std::uint64_t bound) {
  const std::uint64_t excess = (0 - bound) % bound;  // 2^64 mod bound
  while (true) {
    const std::uint64_t value = random_();
    if (value >= excess) return value % bound;
  }
}

std::uint16_t Sampler::draw(Engine& engine, std::span<const float> logits) {
  if (options_.temperature == 0)
    return static_cast<std::uint16_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
  frequencies_.resize(logits.size());
  std::uint64_t total = 0;
  engine.frequencies(logits, options_.temperature, kBits, frequencies_, {&total, 1});
  order_.resize(logits.size());
  std::iota(order_.begin(), order_.end(), std::uint16_t{0});
  std::size_t kept = order_.size();
  if (options_.top_k > 0 || options_.top_p < 1 || options_.min_p > 0) {
    std::sort(order_.begin(), order_.end(), [&](std::uint16_t a, std::uint16_t b) {
      return frequencies_[a] != frequencies_[b] ? frequencies_[a] > frequencies_[b] : a < b;
    });
    if (options_.top_k > 0) kept = std::min(kept, options_.top_k);
    const auto sum_of = [&](std::size_t count) {
      std::uint64_t sum = 0;
      for (std::size_t i = 0; i < count; ++i) sum += frequencies_[order_[i]];
      return sum;
    };
    if (options_.top_p < 1) {
      const auto wanted = static_cast<std::uint64_t>(std::ceil(options_.top_p * static_cast<double>(sum_of(kept))));
      std::uint64_t sum = 0;
      std::size_t count = 0;
      while (count < kept && sum < wanted) sum += frequencies_[order_[count++]];
      kept = std::max<std::size_t>(count, 1);
    }
    const auto least =
        static_cast<std::uint64_t>(std::ceil(options_.min_p * static_cast<double>(frequencies_[order_[0]])));
    while (kept > 1 && frequencies_[order_[kept - 1]] < least) --kept;
    total = sum_of(kept);
  }
  std::uint64_t left = below(total);
  for (std::size_t i = 0; i < kept; ++i) {
    if (left < frequencies_[order_[i]]) return order_[i];
    left -= frequencies_[order_[i]];
  }
  return order_[kept - 1];
}

}  // namespace par5
