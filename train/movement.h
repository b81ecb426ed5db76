// Parameters that never move: the commonest silent fault of a trainer is a tensor that no optimiser was given.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "model/latent.h"

namespace par5 {

class MovementCheck {
 public:
  static constexpr std::int64_t kSteps = 50;  // after which still tensors are reported

  // Remembers the weights as they are.
  explicit MovementCheck(const LatentWeights& latent);
  // Names of tensors of which no value has changed, in the order of weights().
  std::vector<std::string> unmoved(const LatentWeights& latent) const;

 private:
  std::vector<torch::Tensor> start_;
};

}  // namespace par5
