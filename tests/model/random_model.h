// Stored models with random weights, output projections and calibration tensors too, for tests.
#pragma once

#include <cmath>
#include <cstdint>
#include <random>
#include <vector>

#include "pack/stored_model.h"

namespace par5::testing_support {

inline std::vector<float> random_values(const TensorSpec& spec, std::mt19937_64& generator) {
  std::normal_distribution<float> normal;
  std::vector<float> values(static_cast<std::size_t>(element_count(spec.shape)));
  const bool gain = spec.shape.size() == 1 || spec.calibration;
  const bool bias = spec.name == "vocab_bias";
  const float deviation = gain ? 0.3f : 1.5f / std::sqrt(static_cast<float>(spec.shape.back()));
  for (float& value : values) value = deviation * normal(generator) + (gain && !bias ? 1.0f : 0.0f);
  return values;
}

inline StoredModel random_model(const ModelConfig& model, const QuantizerConfig& quantizer, std::uint64_t seed) {
  std::mt19937_64 generator(seed);
  StoredModel stored{model, quantizer, {}};
  for (const TensorSpec& spec : tensor_specs(model))
    stored.tensors.push_back(store_tensor(spec, random_values(spec, generator), quantizer).value());
  return stored;
}

inline std::vector<std::int64_t> random_tokens(std::int64_t count, std::int64_t vocab, std::uint64_t seed) {
  std::mt19937_64 generator(seed);
  std::uniform_int_distribution<std::int64_t> distribution(0, vocab - 1);
  std::vector<std::int64_t> tokens(static_cast<std::size_t>(count));
  for (std::int64_t& token : tokens) token = distribution(generator);
  return tokens;
}

}  // namespace par5::testing_support
