#include "train/weight_average.h"

#include <utility>

namespace par5 {

WeightAverage::WeightAverage(const LatentWeights& latent, double decay) : decay_(decay) {
  if (decay == 0) return;
  for (const LatentWeight& weight : latent.weights()) averages_.push_back(weight.value.clone());
}

void WeightAverage::update(const LatentWeights& latent) {
  const torch::NoGradGuard no_gradients;
  for (std::size_t i = 0; i < averages_.size(); ++i) averages_[i].lerp_(latent.weights()[i].value, 1 - decay_);
}

std::vector<NamedTensor> WeightAverage::state(const LatentWeights& latent) const {
  std::vector<NamedTensor> state;
  for (std::size_t i = 0; i < averages_.size(); ++i)
    state.push_back({"average." + latent.weights()[i].spec.name, averages_[i]});
  return state;
}

void WeightAverage::swap(LatentWeights& latent) {
  for (std::size_t i = 0; i < averages_.size(); ++i) std::swap(averages_[i], latent.weights()[i].value);
}

}  // namespace par5
