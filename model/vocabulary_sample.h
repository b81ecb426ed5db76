// A part of the vocabulary that stands for all of it in one training loss: after Jean et al., "On using very large
// target vocabulary" (arXiv 1412.2007), with the batch's own targets always in.
#pragma once

#include <cstdint>

#include "model/tensor.h"

namespace par5 {

// What is drawn: on average one of so many tokens that are no targets.
struct HeadSample {
  std::int64_t one_of = 1;
  std::uint64_t seed = 0;
};

struct VocabularySample {
  torch::Tensor tokens;   // [n] int64, ascending
  torch::Tensor offsets;  // [n] float32: ln of how many tokens each stands for, added to its softcapped logit
  torch::Tensor targets;  // [rows] int64: the batch's targets as positions in `tokens`
};

// A target stands for itself; another token is in with a probability that goes with its weight, up to 1, and stands for
// as many as that is rare: so Σ exp(logit + offset) over the sample estimates Σ exp(logit) over the vocabulary without
// bias, and best where the weights go with the root of how likely the tokens are. targets int64, each below the length
// of `weights` [vocab], all above 0; both on the CPU. The same sample for the same arguments.
VocabularySample sample_vocabulary(const torch::Tensor& targets, const torch::Tensor& weights,
                                   const HeadSample& settings);

}  // namespace par5
