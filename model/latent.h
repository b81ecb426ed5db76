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

// What the forward pass makes of the latent weights.
struct ForwardPrecision {
  double full = 0;          // share of the latent weights themselves: full · w + (1 - full) · stored(w)
  bool scale_bits = false;  // scales as quantizer.scale_bits stores them; otherwise fp16
};

struct InitialWeights {
  double init_std = 0.02;             // matrices of linear layers; 0: 1 / sqrt(inputs), as GPT-2's presets have it
  double embedding_init_std = 0.005;  // token embedding, its projections, learned positions
  std::uint64_t seed = 42;
  torch::Tensor embedding{}, vocab_bias{};  // undefined: as above
};

class LatentWeights {
 public:
  // Fresh weights: normal matrices, both output projections of every U-Net block zero, scales, skip weights and gains
  // of LayerNorms 1, residual mix (1, 0), q gain q_gain_init, vocabulary bias 0, unless given. Drawn by our own
  // generator, each tensor from a stream of its own, so that they depend on nothing but seed, name and shape.
  // With `learned`, quantised matrices also get factors on their scales, 1 at first (see weights()).
  LatentWeights(const ModelConfig& model, const QuantizerConfig& quantizer, const InitialWeights& initial,
                torch::Device device, LearnedScale learned = LearnedScale::none);
  // The weights of a checkpoint, its scale corrections included.
  static Result<LatentWeights> from_checkpoint(const MatchedTensors& matched, const ModelConfig& model,
                                               const QuantizerConfig& quantizer, torch::Device device);

  const QuantizerConfig& quantizer() const { return quantizer_; }
  // The tensors of tensor_specs in their order, which is the network's, and after them the learned factors on scales:
  // "….scale_correction", [rows] or [scales].
  std::vector<LatentWeight>& weights() { return weights_; }
  const std::vector<LatentWeight>& weights() const { return weights_; }

  // Brings every weight to its stored precision and writes it into the network: once per optimiser step. A weight that
  // is not finite, or beyond what its precision holds, is bad_data that names the tensor.
  Status refresh(Network& network, const ForwardPrecision& precision = {});
  // Adds `factor` times the network's gradients to the latent ones (the straight-through gradient) and clears the
  // network's: once per micro-batch, with factor 1 / micro-batches. The first after clear_gradients replaces them.
  void collect_gradients(Network& network, double factor = 1.0);
  // The gradients of the learned factors, from those of the weights that they scale: once per optimiser step, after the
  // last collect_gradients. `network` holds what the last refresh wrote.
  void finish_gradients(const Network& network);
  void clear_gradients() { cleared_ = true; }

  // The weights in their stored precision, scales of quantizer.scale_bits: what packing a checkpoint of them gives.
  Result<StoredModel> stored(std::size_t threads) const;
  // The latent values as a checkpoint holds them, in the order of weights(), on the CPU; they own their bytes. Learned
  // factors stand there one per scale, as the published programs have them.
  std::vector<Tensor> tensors() const;

 private:
  LatentWeights(const ModelConfig& model, const QuantizerConfig& quantizer, torch::Device device, LearnedScale learned);
  // The factors on the scales of weights_[index], one per scale; empty without.
  std::vector<float> corrections_of(std::size_t index) const;
  Status effective_values(std::size_t index, const ForwardPrecision& precision, torch::Tensor& out) const;

  ModelConfig model_;
  QuantizerConfig quantizer_;
  ForwardPrecision precision_;  // of the last refresh
  bool cleared_ = true;
  std::vector<LatentWeight> weights_;
  std::vector<std::size_t> corrections_;  // by tensor: index of its factors in weights_; 0: none
};

}  // namespace par5
