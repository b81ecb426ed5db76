// Drawing tokens from the engine's distributions. Everything is decided on integer frequencies, so a seed gives the
// same text with every kernel and number of threads.
#pragma once

#include <cstdint>
#include <random>
#include <span>
#include <vector>

#include "engine/engine.h"

namespace par5 {

struct SamplingOptions {
  double temperature = 1.0;  // 0: the likeliest token, always
  std::size_t top_k = 0;     // only the k likeliest tokens; 0: all
  double top_p = 1.0;        // only the likeliest tokens that make up this much probability together
  double min_p = 0.0;        // only tokens at least this likely, compared with the likeliest
  std::uint64_t seed = 0;
};

class Sampler {
 public:
  // Values outside their ranges are usage errors.
  static Result<Sampler> create(const SamplingOptions& options);

  // A token for logits [vocab]. The limits apply in the order top_k, top_p, min_p; at least one token is left. Among
  // equally likely tokens the one with the lower id counts as likelier.
  std::uint16_t draw(Engine& engine, std::span<const float> logits);

 private:
  explicit Sampler(const SamplingOptions& options) : options_(options), random_(options.seed) {}
  std::uint64_t below(std::uint64_t bound);

  SamplingOptions options_;
  std::mt19937_64 random_;
  std::vector<std::uint64_t> frequencies_;
  std::vector<std::uint16_t> order_;
};

}  // namespace par5
