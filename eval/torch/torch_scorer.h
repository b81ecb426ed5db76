// The LibTorch network as a scorer.
#pragma once

#include <memory>
#include <string>

#include "core/config.h"
#include "eval/scorer.h"
#include "model/network.h"

namespace par5 {

struct TorchScorerOptions {
  Precision precision = Precision::float32;  // of matrix products; probabilities are always float32
  double temperature = 1.0;                  // logits are divided by it
  torch::Device device = torch::kCPU;
};

// Scores without gradients; the head runs for wanted positions only, in blocks, so that no more than a few thousand
// rows of probabilities exist at a time.
class TorchScorer final : public Scorer {
 public:
  static Result<std::unique_ptr<TorchScorer>> create(const StoredModel& stored, const TorchScorerOptions& options);

  std::int64_t vocab() const override { return network_.config().vocab; }
  std::string name() const override;
  Status score(const WindowBatch& batch, const Sink& sink) override;

  void set_temperature(double temperature) { options_.temperature = temperature; }
  // The network, for learners that change its weights (eval/torch/torch_learner.h).
  Network& network() { return network_; }

 private:
  TorchScorer(const ModelConfig& model, const TorchScorerOptions& options);

  TorchScorerOptions options_;
  Network network_;
};

}  // namespace par5
