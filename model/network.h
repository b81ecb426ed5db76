// The LibTorch network: U-Net/GQA and GPT-2 backbones over effective weights.
//
// The network only knows *effective* weights, that is the values that the stored model stands for (code · scale, fp8,
// fp16). Training keeps float32 latent weights beside it and refreshes the effective ones once per optimiser step; the
// straight-through gradient is the identity, so a latent weight's gradient is its effective weight's.
#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <string>
#include <vector>

#include "pack/stored_model.h"

namespace par5 {

struct NetworkWeight {
  TensorSpec spec;
  torch::Tensor effective;  // float32 (calibration, embeddings) or the compute type (quantised matrices); a leaf
};

class Network {
 public:
  // Weights are zero until loaded. `compute` is float32 or bfloat16: the type of matrix products.
  Network(const ModelConfig& model, torch::Device device, torch::ScalarType compute);

  const ModelConfig& config() const { return model_; }
  std::vector<NetworkWeight>& weights() { return weights_; }
  torch::Tensor& weight(const std::string& name);

  // Effective weights from a stored model (an artifact or a quantised checkpoint), without re-quantising.
  Status load(const StoredModel& stored);

  // tokens [batch, length] int64 -> final normalised hidden states [batch, length, width].
  torch::Tensor hidden(const torch::Tensor& tokens);
  // hidden rows [rows, width] -> softcapped logits [rows, vocab], float32.
  torch::Tensor logits(const torch::Tensor& hidden_rows);
  // Mean over all positions of cross-entropy + z_loss · logsumexp², without holding all logits at once.
  // tokens, targets [batch, length] int64. Returns {loss that is differentiated, mean cross-entropy in nats}.
  struct Loss {
    torch::Tensor total;
    torch::Tensor cross_entropy;
  };
  Loss loss(const torch::Tensor& tokens, const torch::Tensor& targets, double z_loss);

  // Dropout (gpt2) is on only in training mode.
  void set_training(bool training) { training_ = training; }

 private:
  ModelConfig model_;
  torch::Device device_;
  torch::ScalarType compute_;
  bool training_ = false;
  std::vector<NetworkWeight> weights_;
};

}  // namespace par5
