// The output head of the training loss with its three products in 8-bit integers.
#pragma once

#include "model/kernels.h"
#include "model/tensor.h"

namespace par5 {

struct HeadGradients {
  torch::Tensor features;   // [rows, width]
  torch::Tensor embedding;  // [vocab, width]
  torch::Tensor bias;       // [vocab]
};

// Fills the rows' logsum and target_logit of `job`, whose other outputs this sets, and gives the gradients; those of
// the embedding and of the bias where they are wanted. features [rows, width], embedding [vocab, width], float32 on the
// CPU. The gradient of the logits is rounded once, with dither, for both of its products; but for the targets' part,
// which is far larger than the rest and is done in float32.
HeadGradients integer_head(const torch::Tensor& features, const torch::Tensor& embedding, kernels::LogitLoss job,
                           bool for_embedding, bool for_bias);

}  // namespace par5
