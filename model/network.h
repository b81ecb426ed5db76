// The LibTorch network: U-Net/GQA and GPT-2 backbones over effective weights.
//
// The network only knows *effective* weights, that is the values that the stored model stands for (code · scale, fp8,
// fp16). Training keeps float32 latent weights beside it (model/latent.h) and refreshes the effective ones once per
// optimiser step; the straight-through gradient is the identity, so a latent weight's gradient is its effective
// weight's.
//
// LibTorch's exceptions pass through: callers at a border use guarded() of model/runtime.h.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "model/attention.h"
#include "model/frozen.h"
#include "model/head.h"
#include "model/integer_linear.h"
#include "model/tensor.h"
#include "model/vocabulary_sample.h"
#include "pack/stored_model.h"

namespace par5 {

struct NetworkWeight {
  TensorSpec spec;
  // A leaf. Quantised matrices of linear layers are held in the compute type; the embedding and everything else in
  // float32, so that their gradients are summed in float32.
  torch::Tensor effective;
};

// What scoring needs of a forward pass, for the exact savings that this allows. Of every sequence only positions
// [first, length) are wanted: the last block's queries, MLP and norms run for these alone. `shift`, if not 0, says that
// each sequence is the one before it moved on by so many tokens: what depends on a token alone (embedding, the first
// block's input and its projections) is then computed once per token.
struct ScoringShape {
  std::int64_t first = 0;
  std::int64_t shift = 0;
};

class Network {
 public:
  // Weights are zero until loaded. `compute` is float32 or bfloat16 (double in tests, eagerly): the type of matrix
  // products; norms, residuals, softcap and loss are at least float32. The configuration must have passed check_model.
  Network(const ModelConfig& model, torch::Device device, torch::ScalarType compute,
          Kernels kernels = Kernels::automatic);

  const ModelConfig& config() const { return model_; }
  torch::Device device() const { return device_; }
  torch::ScalarType compute_type() const { return compute_; }
  std::vector<NetworkWeight>& weights() { return weights_; }
  const std::vector<NetworkWeight>& weights() const { return weights_; }
  // The effective weight of that name, which must be one of tensor_specs.
  torch::Tensor& weight(const std::string& name);

  // Effective weights from a stored model (an artifact or a quantised checkpoint), without re-quantising.
  Status load(const StoredModel& stored);
  // Which weights want gradients: `calibration` those that scalars-only TTT adapts, `matrices` all others.
  void require_gradients(bool matrices, bool calibration);
  void clear_gradients();
  // Until thaw(), weights that want no gradients keep their values: products with them that others' gradients go
  // through are prepared once. Weights that want gradients may change as ever.
  void freeze();
  void thaw();

  // Positions that sequences of this length need: a usage error beyond a learned table.
  Status check_length(std::int64_t length) const;

  // tokens [batch, length] int64 -> final normalised hidden states [batch, length, width] in the compute type.
  // A length that check_length refuses throws c10::ValueError.
  torch::Tensor hidden(const torch::Tensor& tokens);
  // The same states for positions [scoring.first, length) alone, [batch, length - first, width], without gradients.
  torch::Tensor scoring_hidden(const torch::Tensor& tokens, const ScoringShape& scoring);
  // hidden rows [rows, width] -> softcapped logits [rows, vocab], float32.
  torch::Tensor logits(const torch::Tensor& hidden_rows);
  // hidden rows [rows, width], targets [rows] -> -log p(target) in nats, float32 [rows], without holding all logits.
  // Logits are divided by `temperature` after the softcap. Without gradients.
  torch::Tensor nats(const torch::Tensor& hidden_rows, const torch::Tensor& targets, double temperature = 1.0);
  // Mean over all positions of cross-entropy + z_loss · logsumexp², without holding all logits at once.
  // tokens, targets [batch, length] int64. Returns {loss that is differentiated, mean cross-entropy in nats}.
  using Loss = HeadLoss;
  Loss loss(const torch::Tensor& tokens, const torch::Tensor& targets, double z_loss);
  // An estimate of it from the targets and some of the other tokens (vocabulary_sample.h), the likelier ones, by the
  // vocabulary's bias, more often.
  Loss sampled_loss(const torch::Tensor& tokens, const torch::Tensor& targets, double z_loss,
                    const HeadSample& settings);

  // Products of the blocks' linear layers and of the loss's head in 8-bit integers, or (nullopt) in the compute type,
  // which must be float32 on the CPU. For training: what a model scores is defined without.
  void set_integer_products(std::optional<IntegerProducts> products) { integer_products_ = products; }
  // Dropout (gpt2) is on only in training mode.
  void set_training(bool training) { training_ = training; }

 private:
  torch::Tensor backbone(const torch::Tensor& tokens, const ScoringShape& scoring);
  torch::Tensor unet_hidden(const torch::Tensor& tokens, const ScoringShape& scoring);
  torch::Tensor gpt2_hidden(const torch::Tensor& tokens, const ScoringShape& scoring);
  torch::Tensor unet_attention(const std::string& block, const torch::Tensor& qkv, const AttentionShape& shape);
  torch::Tensor unet_tail_attention(const std::string& block, const torch::Tensor& normed, const AttentionShape& shape,
                                    std::int64_t first);
  torch::Tensor unet_qkv_matrix(const std::string& block);
  torch::Tensor unet_mlp(const std::string& block, const torch::Tensor& normed);
  // Input rows of the head: hidden rows through the factored embedding's projection, where there is one.
  torch::Tensor features(const torch::Tensor& hidden_rows);
  // rows · weightᵀ with the linear layer's own norm on its input, where the configuration asks for one.
  torch::Tensor linear(const torch::Tensor& rows, const torch::Tensor& weight, bool is_output);
  // rows · weightᵀ, where `weight` is one of the network's or made of some.
  torch::Tensor product(const torch::Tensor& rows, const torch::Tensor& weight);
  // The same, of a linear layer in the blocks: in integers where set_integer_products asks for them.
  torch::Tensor quantized_product(const torch::Tensor& rows, const torch::Tensor& weight);
  torch::Tensor normalize_input(const torch::Tensor& rows, bool is_output);
  const RopeTable& rope(std::int64_t length);
  HeadSettings head_settings();
  torch::Tensor vocabulary_bias();  // undefined where there is none

  ModelConfig model_;
  torch::Device device_;
  torch::ScalarType compute_;
  torch::ScalarType wide_;  // of everything that is not a matrix product
  Kernels kernels_;
  bool training_ = false;
  std::optional<IntegerProducts> integer_products_;
  std::vector<NetworkWeight> weights_;
  std::map<std::string, std::size_t> index_;
  FrozenWeights frozen_;
  RopeTable rope_;  // of the longest sequence so far
  RopeTable rope_view_;
};

// Name of the tied token embedding: "tok_emb.weight" or "transformer.wte.weight".
std::string embedding_name(const ModelConfig& model);

}  // namespace par5
