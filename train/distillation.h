// Distillation: a teacher's distribution as part of the training loss.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "core/config.h"
#include "model/network.h"

namespace par5 {

class Teacher {
 public:
  // Loads a checkpoint's latent weights at full precision. Another vocabulary than `student`'s is a usage error.
  static Result<Teacher> load(const std::string& path, const ModelConfig& student, torch::Device device,
                              torch::ScalarType compute);

  // Mean over all positions of (1 − weight) · (cross-entropy + z_loss · logsumexp²) + weight · T² · KL(teacher ‖
  // student), both distributions at temperature T (Hinton et al. 2015, arXiv 1503.02531), and the mean cross-entropy in
  // nats. tokens, targets [batch, length] int64. Holds the logits of both models for the whole batch.
  Network::Loss loss(Network& student, const torch::Tensor& tokens, const torch::Tensor& targets,
                     const TrainConfig& train);

 private:
  explicit Teacher(std::unique_ptr<Network> network) : network_(std::move(network)) {}
  std::unique_ptr<Network> network_;
};

}  // namespace par5
