// The output head: logits, softcap and the training loss.
#pragma once

#include "model/frozen.h"
#include "model/operations.h"

namespace par5 {

struct HeadSettings {
  Softcap softcap = Softcap::none;
  double softcap_value = 0.0;
  Kernels kernels = Kernels::automatic;
  FrozenWeights* frozen = nullptr;  // that the embedding is among; or null
  // The differentiated loss in 8-bit integers (model/integer_head.h); float32 on the CPU.
  bool integer_products = false;
  torch::Tensor offsets = {};  // [vocab] float32, added to the softcapped logits of the loss; or undefined
};

// Softcapped logits [rows, vocab] in float32 (double where the inputs are). features [rows, embedding_width] in the
// compute type, embedding [vocab, embedding_width] float32, bias [vocab] float32 or undefined.
torch::Tensor head_logits(const torch::Tensor& features, const torch::Tensor& embedding, const torch::Tensor& bias,
                          const HeadSettings& settings);

// total = mean(-log p(target)) + z_loss · mean(logsumexp²), differentiable; cross_entropy = its first term, which is
// not; vocabulary = how many tokens it is over. targets [rows] int64.
struct HeadLoss {
  torch::Tensor total;
  torch::Tensor cross_entropy;
  std::int64_t vocabulary = 0;
};

// By blocks of rows: the gradients are computed beside the loss, and no more than one block's logits ever exist.
HeadLoss head_loss(const torch::Tensor& features, const torch::Tensor& embedding, const torch::Tensor& bias,
                   const torch::Tensor& targets, double z_loss, const HeadSettings& settings);
// The same from all logits at once, by LibTorch's own differentiation: what head_loss is tested against.
HeadLoss eager_head_loss(const torch::Tensor& features, const torch::Tensor& embedding, const torch::Tensor& bias,
                         const torch::Tensor& targets, double z_loss, const HeadSettings& settings);

// -log p(target) in nats of each row, float32 [rows], with logits divided by `temperature`; by blocks of rows.
torch::Tensor head_nats(const torch::Tensor& features, const torch::Tensor& embedding, const torch::Tensor& bias,
                        const torch::Tensor& targets, double temperature, const HeadSettings& settings);

}  // namespace par5
