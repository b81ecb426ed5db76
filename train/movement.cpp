#include "train/movement.h"

namespace par5 {

MovementCheck::MovementCheck(const LatentWeights& latent) {
  for (const LatentWeight& weight : latent.weights()) start_.push_back(weight.value.clone());
}

std::vector<std::string> MovementCheck::unmoved(const LatentWeights& latent) const {
  std::vector<std::string> names;
  for (std::size_t i = 0; i < start_.size(); ++i)
    if (at::equal(start_[i], latent.weights()[i].value)) names.push_back(latent.weights()[i].spec.name);
  return names;
}

}  // namespace par5
