#include "train/distillation.h"

#include "core/safetensors.h"
#include "model/latent.h"

namespace par5 {

Result<Teacher> Teacher::load(const std::string& path, const ModelConfig& student, torch::Device device,
                              torch::ScalarType compute) {
  P5_TRY(const auto file, SafetensorsFile::open(path));
  P5_TRY(const LoadedConfig config, checkpoint_config(file, path, ""));
  const ModelConfig& model = config.values().model;
  if (model.vocab != student.vocab)
    return usage_error("the teacher '" + path + "' has a vocabulary of " + std::to_string(model.vocab) +
                           ", the model one of " + std::to_string(student.vocab),
                       "train.teacher");
  P5_TRY(const MatchedTensors matched, match_tensors(file, model, path));
  P5_TRY(LatentWeights latent, LatentWeights::from_checkpoint(matched, model, config.values().quantizer, device));
  auto network = std::make_unique<Network>(model, device, compute);
  P5_OK(latent.refresh(*network, {.full = 1}));
  network->require_gradients(false, false);
  network->set_training(false);
  return Teacher(std::move(network));
}

Network::Loss Teacher::loss(Network& student, const torch::Tensor& tokens, const torch::Tensor& targets,
                            const TrainConfig& train) {
  const auto logits_of = [&](Network& network) { return network.logits(network.hidden(tokens).flatten(0, 1)); };
  torch::Tensor wanted;
  {
    const torch::NoGradGuard no_gradients;
    wanted = at::softmax(logits_of(*network_) / train.distillation_temperature, -1);
  }
  const torch::Tensor logits = logits_of(student), rows = targets.flatten();
  const torch::Tensor logsum = at::logsumexp(logits, {1});
  const torch::Tensor mean = (logsum - logits.gather(1, rows.unsqueeze(1)).squeeze(1)).mean();
  const torch::Tensor text = mean + train.z_loss * logsum.square().mean();
  const torch::Tensor cooled = at::log_softmax(logits / train.distillation_temperature, -1);
  const torch::Tensor divergence = (wanted * ((wanted + 1e-20).log() - cooled)).sum(1).mean();
  const double square = train.distillation_temperature * train.distillation_temperature;
  return {(1 - train.distillation_weight) * text + train.distillation_weight * square * divergence, mean.detach(),
          logits.size(1)};
}

}  // namespace par5
