// The LibTorch network behind evaluation's two interfaces: it scores windows, and its calibration tensors learn.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/config.h"
#include "eval/scorer.h"
#include "model/network.h"

namespace par5 {

struct TorchScorerOptions {
  Precision precision = Precision::float32;  // of matrix products; probabilities are always float32
  double temperature = 1.0;                  // logits are divided by it
  TttConfig ttt;                             // momentum and clip; the rate comes with each step
  double z_loss = 1e-4;                      // of the loss that is learnt from
  torch::Device device = torch::kCPU;
};

// Scores without gradients; the head runs for wanted positions only, in blocks, so that no more than a few thousand
// rows of probabilities exist at a time. Learns by SGD with momentum on the tensors with TensorSpec::calibration, as
// torch.optim.SGD and clip_grad_norm_ do it; all other weights stay as stored.
class TorchScorer final : public Scorer, public Learner {
 public:
  static Result<std::unique_ptr<TorchScorer>> create(const StoredModel& stored, const TorchScorerOptions& options);

  std::int64_t vocab() const override { return network_.config().vocab; }
  std::string name() const override;
  Status score(const WindowBatch& batch, const Sink& sink) override;

  std::int64_t adapted_values() const override;
  Status step(const ScoredWindows& windows, double learning_rate) override;
  void reset() override;
  std::string description() const override;
  // Values, then velocity, of each adapted tensor, float32.
  Result<std::vector<std::byte>> state() const override;
  Status restore(std::span<const std::byte> state) override;

 private:
  TorchScorer(const ModelConfig& model, const TorchScorerOptions& options);
  torch::Tensor to_device(std::span<const std::uint16_t> tokens, std::int64_t windows, std::int64_t length) const;

  // A tensor that learns: the network's own, its values as loaded, and SGD's running sum of gradients.
  struct Adapted {
    torch::Tensor weight;
    torch::Tensor initial;
    torch::Tensor velocity;
  };

  TorchScorerOptions options_;
  Network network_;
  std::vector<Adapted> adapted_;
};

}  // namespace par5
