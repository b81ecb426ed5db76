// Internal to engine/: a stored model's tensors in the form in which the kernels read them.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/aligned.h"
#include "engine/packed_matrix.h"

namespace par5 {

struct LayerWeights {
  PackedMatrix query, key_value, attention_out, mlp_in, mlp_out;
  // unet: residual mix, branch scales, gain per query head; gpt2: gains of the two norms.
  AlignedVector<float> mix_x, mix_x0, attention_scale, mlp_scale, query_gain, attention_norm, mlp_norm;
};

struct NetworkWeights {
  ModelConfig model;
  PackedMatrix embedding;                    // also the head
  PackedMatrix embedding_in, embedding_out;  // of a factored embedding
  PackedMatrix positions;                    // gpt2
  std::vector<LayerWeights> layers;
  std::vector<AlignedVector<float>> skips;
  AlignedVector<float> vocab_bias, final_norm;

  std::uint64_t quantized_bytes() const;  // in memory
  std::uint64_t bytes() const;            // all weights
};

// Checks the configuration and every tensor's shape, sizes and values, so that kernels need not. `layers` and
// `embedding` are the formats of five-level weights that the kernels read there (pack_matrix).
Result<NetworkWeights> load_weights(const StoredModel& model, Packing layers, Packing embedding);

}  // namespace par5
