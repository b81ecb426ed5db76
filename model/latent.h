// The float32 weights that an optimiser moves, beside the effective weights that the network computes with.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "model/network.h"
#include "pack/architecture.h"

namespace par5 {

struct LatentWeight {
  TensorSpec spec;
  torch::Tensor value;     // float32 on the network's device
  torch::Tensor gradient;  // float32, the same shape
};

struct InitialWeights {
  double init_std = 0.02;             // matrices of linear layers; 0: 1 / sqrt(inputs), as GPT-2's presets have it
  double embedding_init_std = 0.005;  // token embedding, its projections, learned positions
  std::uint64_t seed = 42;
};

class LatentWeights {
 public:
  // Fresh weights: normal matrices, both output projections of every U-Net block zero, scales, skip weights and gains
  // of LayerNorms 1, residual mix (1, 0), q gain q_gain_init, vocabulary bias 0. Drawn by our own generator, each
  // tensor from a stream of its own, so that they depend on nothing but seed, name and shape.
  LatentWeights(const ModelConfig& model, const QuantizerConfig& quantizer, const InitialWeights& initial,
                torch::Device device);
  // The weights of a checkpoint.
  static Result<LatentWeights> from_checkpoint(const MatchedTensors& matched, const ModelConfig& model,
                                               const QuantizerConfig& quantizer, torch::Device device);

  const QuantizerConfig& quantizer() const { return quantizer_; }
  std::vector<LatentWeight>& weights() { return weights_; }
  const std::vector<LatentWeight>& weights() const { return weights_; }

  // Brings every weight to its stored precision and writes it into the network: once per optimiser step. A weight that
  // is not finite, or beyond what its precision holds, is bad_data that names the tensor.
  Status refresh(Network& network);
  // Adds `factor` times the network's gradients to the latent ones (the straight-through gradient) and clears the
  // network's: once per micro-batch, with factor 1 / micro-batches.
  void collect_gradients(Network& network, double factor = 1.0);
  void clear_gradients();

  // The latent values as a checkpoint holds them, in tensor_specs order, on the CPU; they own their bytes.
  std::vector<Tensor> tensors() const;

 private:
  LatentWeights(const ModelConfig& model, const QuantizerConfig& quantizer, torch::Device device);

  ModelConfig model_;
  QuantizerConfig quantizer_;
  std::vector<LatentWeight> weights_;
};

}  // namespace par5
