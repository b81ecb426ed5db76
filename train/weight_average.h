// An exponential moving average of the latent weights, which checkpoints and validations then hold.
#pragma once

#include <vector>

#include "model/latent.h"
#include "train/optimizer.h"

namespace par5 {

class WeightAverage {
 public:
  // Starts at the weights as they are. `decay` in 0 … 1; 0: no average, and everything below does nothing.
  WeightAverage(const LatentWeights& latent, double decay);

  // average ← decay · average + (1 − decay) · weights: once per optimiser step.
  void update(const LatentWeights& latent);
  // The average's own tensors (not copies), for the saved state.
  std::vector<NamedTensor> state(const LatentWeights& latent) const;

  // While it lives, `latent` holds the average and the average holds the weights.
  class Swapped {
   public:
    Swapped(WeightAverage& average, LatentWeights& latent) : average_(average), latent_(latent) {
      average_.swap(latent_);
    }
    ~Swapped() { average_.swap(latent_); }
    Swapped(const Swapped&) = delete;
    Swapped& operator=(const Swapped&) = delete;

   private:
    WeightAverage& average_;
    LatentWeights& latent_;
  };

 private:
  void swap(LatentWeights& latent);

  double decay_ = 0;
  std::vector<torch::Tensor> averages_;
};

}  // namespace par5
