// The baseline of training figures: the U-Net written plainly in LibTorch operations, one after the other, with
// LibTorch's own differentiation, the straight-through quantiser in the graph of every forward pass, and Muon and Adam
// step by step. Nothing is fused, nothing of par5's kernels is used.
#pragma once

#include <map>
#include <string>

#include "core/config.h"
#include "model/latent.h"
#include "model/rope.h"

namespace par5::bench {

// Logits of all rows at once, softcap, cross-entropy and z-loss. features [rows, width], embedding [vocab, width], bias
// [vocab], targets [rows] int64.
struct EagerLoss {
  torch::Tensor total, cross_entropy;
};
EagerLoss eager_loss(const torch::Tensor& features, const torch::Tensor& embedding, const torch::Tensor& bias,
                     const torch::Tensor& targets, const ModelConfig& model, double z_loss);

// What the forward pass computes with: the value as it is stored (code · scale of an absmean grid with scales in fp16,
// fp8, or fp16), its gradient straight through.
torch::Tensor eager_stored(const TensorSpec& spec, const torch::Tensor& value, const QuantizerConfig& quantizer);

// One step of Muon: the plain iteration, in `type`, one matrix after the other.
void eager_muon(torch::Tensor value, const torch::Tensor& gradient, torch::Tensor momentum_buffer,
                const OptimizerConfig& optimizer, double momentum, torch::ScalarType type);

class EagerTrainer {
 public:
  // Begins with the values of `initial`. With `autocast` matrix products are bfloat16, as LibTorch's autocast casts.
  EagerTrainer(const Config& config, const LatentWeights& initial, bool autocast);
  // One optimiser step over tokens, targets [batch, length]: the mean cross-entropy before it.
  double step(const torch::Tensor& tokens, const torch::Tensor& targets);

 private:
  struct Parameter {
    TensorSpec spec;
    torch::Tensor value;  // a leaf
    torch::Tensor first, second;
  };
  const torch::Tensor& value(const std::string& name) const { return parameters_.at(name).value; }
  torch::Tensor stored(const std::string& name) const;
  EagerLoss forward(const torch::Tensor& tokens, const torch::Tensor& targets);
  torch::Tensor attention(const std::string& block, const torch::Tensor& normed, std::int64_t batch,
                          std::int64_t length);
  void update();

  Config config_;
  bool autocast_;
  std::map<std::string, Parameter> parameters_;
  RopeTable rope_;
  std::int64_t steps_ = 0;
};

}  // namespace par5::bench
