// Internal to engine/: a model's tensors as plain float32 matrices, which a backward pass reads and a learner changes.
#pragma once

#include <functional>
#include <string_view>
#include <vector>

#include "engine/network_weights.h"

namespace par5 {

class ThreadPool;

// Row-major; rows are `stride` floats apart and padded with zeros. A vector is one row.
struct Parameter {
  TensorSpec spec;
  std::size_t rows = 0, width = 0, stride = 0;
  bool learns = false;
  AlignedVector<float> values, gradient;  // the gradient only where it learns
  float* row(AlignedVector<float>& of, std::size_t index) const { return of.data() + index * stride; }
  const float* row(std::size_t index) const { return values.data() + index * stride; }
};

struct LayerParameters {
  std::vector<Parameter*> attention_in;  // rows of Q, K, V: one fused matrix or three
  Parameter *attention_out, *mlp_in, *mlp_out;
  Parameter *attention_scale, *mlp_scale, *mix, *query_gain;  // unet
  Parameter *attention_norm, *mlp_norm;                       // gpt2
};

// The tensors in tensor_specs order, and by what they are for. Not to be moved once made: it points into itself.
class Parameters {
 public:
  using Learns = std::function<bool(const TensorSpec&)>;
  // The model has been checked (load_weights).
  Parameters(const StoredModel& model, const Learns& learns);
  Parameters(const Parameters&) = delete;
  Parameters& operator=(const Parameters&) = delete;

  // Copies the values of what learns into the engine's weights; matrices there are in the format `single`.
  void store(NetworkWeights& weights, ThreadPool& pool) const;

  std::vector<Parameter> all;
  std::vector<LayerParameters> layers;
  Parameter *embedding = nullptr, *embedding_in = nullptr, *embedding_out = nullptr, *positions = nullptr;
  Parameter *skips = nullptr, *vocab_bias = nullptr, *final_norm = nullptr;

 private:
  Parameter* find(std::string_view name);
};

}  // namespace par5
