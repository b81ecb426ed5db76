// Seeded model states for measurements and slow tests: what a size is claimed for. A state has the tensors of its
// configuration in their stored precision, scales as fp16.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/config.h"
#include "pack/stored_model.h"

namespace par5::bench {

// Normal values from a seeded generator, the same with every standard library.
class Random {
 public:
  explicit Random(std::uint64_t seed) : random_(seed) {}
  double uniform() { return (static_cast<double>(random_() >> 11) + 0.5) / 9007199254740992.0; }
  double normal() { return std::sqrt(-2 * std::log(uniform())) * std::cos(6.283185307179586 * uniform()); }
  // Generalised Gaussian of shape 4 and variance 1, by rejection from a uniform box.
  double shape4() {
    while (true) {
      const double x = 8 * uniform() - 4, scaled = x * 0.58139536, square = scaled * scaled;
      if (uniform() < std::exp(-square * square)) return x;
    }
  }

 private:
  std::mt19937_64 random_;
};

enum class Structure {
  independent,  // weights N(0, 0.02^2)
  columns,      // shape-4 weights whose columns have log-normal scales, as trained matrices have
  low_rank,     // those, but a tenth of their variance, in fp8 matrices too, is a matrix of rank 8
};

// Deviation of the logarithm of a matrix's column scales.
inline double column_deviation(std::string_view name) {
  const auto has = [&](std::string_view part) { return name.find(part) != std::string_view::npos; };
  if (has("mlp.proj") || has("mlp.c_proj")) return 0.35;
  if (has("mlp.")) return 0.05;
  if (has("attn.proj") || has("attn.c_proj")) return 0.10;
  return 0.20;  // queries, keys and values
}

// Adds a matrix of rank 8 so that it is a tenth of the variance, in every column as large a part of it.
inline void add_low_rank(const Shape& shape, std::span<const double> column, std::vector<float>& weights,
                         Random& random) {
  constexpr std::size_t kRank = 8;
  const auto rows = static_cast<std::size_t>(shape[0]), columns = static_cast<std::size_t>(shape[1]);
  std::vector<double> left(rows * kRank), right(kRank * columns);
  for (double& value : left) value = random.normal();
  for (double& value : right) value = random.normal();
  for (std::size_t r = 0; r < rows; ++r)
    for (std::size_t c = 0; c < columns; ++c) {
      double sum = 0;
      for (std::size_t k = 0; k < kRank; ++k) sum += left[r * kRank + k] * right[k * columns + c];
      float& weight = weights[r * columns + c];
      weight = static_cast<float>(std::sqrt(0.9) * weight + std::sqrt(0.1 / kRank) * sum * column[c]);
    }
}

// The float32 weights of one tensor: matrices by `structure`, `strength` times its column deviations; token embeddings
// N(0, 0.3^2), their projections N(0, 0.05^2), vectors 1 + N(0, 0.1^2).
inline std::vector<float> random_weights(const TensorSpec& spec, Structure structure, double strength, Random& random) {
  std::vector<float> weights(static_cast<std::size_t>(element_count(spec.shape)));
  const auto fill = [&](auto&& next) {
    for (std::size_t i = 0; i < weights.size(); ++i) weights[i] = static_cast<float>(next(i));
  };
  std::vector<double> column(static_cast<std::size_t>(spec.shape.back()));
  if (spec.storage == Storage::quantized && structure != Structure::independent) {
    for (double& scale : column) scale = 0.02 * std::exp(strength * column_deviation(spec.name) * random.normal());
    fill([&](std::size_t i) { return random.shape4() * column[i % column.size()]; });
  } else if (spec.storage == Storage::quantized) {
    fill([&](std::size_t) { return 0.02 * random.normal(); });
  } else if (spec.storage == Storage::fp8) {
    const double deviation = spec.name.find("embed_proj") == std::string::npos ? 0.3 : 0.05;
    fill([&](std::size_t) { return deviation * random.normal(); });
    std::fill(column.begin(), column.end(), deviation);
  } else {
    fill([&](std::size_t) { return 1 + 0.1 * random.normal(); });
  }
  if (structure == Structure::low_rank && spec.storage != Storage::fp16)
    add_low_rank(spec.shape, column, weights, random);
  return weights;
}

inline Result<StoredModel> random_state(const ModelConfig& model, const QuantizerConfig& quantizer, Structure structure,
                                        std::uint64_t seed, double strength = 1, std::size_t threads = 0) {
  StoredModel state{model, quantizer, {}};
  state.quantizer.scale_bits = 16;
  Random random(seed);
  for (const TensorSpec& spec : tensor_specs(model)) {
    P5_TRY(auto tensor,
           store_tensor(spec, random_weights(spec, structure, strength, random), state.quantizer, threads));
    state.tensors.push_back(std::move(tensor));
  }
  return state;
}

// A state of a preset's shapes: "quinary-16mb" has 36,495,360 quinary weights, "ternary-16mb" 64,880,640 ternary ones.
inline Result<StoredModel> full_size_state(const std::string& source_folder, const std::string& preset,
                                           Structure structure, std::uint64_t seed) {
  LoadedConfig config;
  P5_OK(config.apply_file(source_folder + "/configs/" + preset + ".toml"));
  return random_state(config.values().model, config.values().quantizer, structure, seed);
}

}  // namespace par5::bench
