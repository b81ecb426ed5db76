// Test-time training on the LibTorch network that a scorer computes with. A learner changes the network's own weights,
// so that what it has learnt is what is scored next; when it is destroyed, they are back as stored.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "eval/learning.h"
#include "model/network.h"

namespace par5 {

struct TorchLearnerOptions {
  Adaptation adaptation = Adaptation::calibration;
  TttConfig ttt;         // optimiser, momentum, clip, decay; the rate comes with each step
  LoraConfig lora;       // rank, alpha and matrices of Adaptation::lora
  double z_loss = 1e-4;  // of the loss that is learnt from
};

// What a mode that learns on the network asks for.
TorchLearnerOptions torch_learner_options(ModeKind kind, const EvalSettings& settings, double z_loss);

// Steps are those of docs/evaluation.md. A step at rate 0 changes nothing and is not computed.
class TorchLearner final : public Learner {
 public:
  // The network stays the caller's and must outlive the learner. Values are kept in float32 whatever it computes in.
  static Result<std::unique_ptr<TorchLearner>> create(Network& network, const TorchLearnerOptions& options);
  ~TorchLearner() override;
  TorchLearner(const TorchLearner&) = delete;
  TorchLearner& operator=(const TorchLearner&) = delete;

  std::int64_t adapted_values() const override;
  Status step(const ScoredWindows& windows, double learning_rate) override;
  void reset() override;
  std::string description() const override;
  // Of each tensor that learns its values and the optimiser's memory, float32, then the number of steps, 8 bytes.
  Result<std::vector<std::byte>> state() const override;
  Status restore(std::span<const std::byte> state) override;

 private:
  TorchLearner(Network& network, const TorchLearnerOptions& options) : network_(network), options_(options) {}

  // A tensor that learns, float32: its values, those at first, the optimiser's memory, and what its rate is times lr.
  struct Value {
    torch::Tensor value, initial, first, second;
    double rate_factor = 1.0;
  };
  // A weight of the network whose gradient is wanted, and what it is made of: values_[value] itself, or for LoRA
  // stored + factor · values_[value] (up) · values_[value + 1] (down).
  struct Adapted {
    torch::Tensor weight;
    torch::Tensor stored;
    std::size_t value = 0;
  };
  void add_value(const torch::Tensor& initial, double rate_factor);
  void write_weights();
  // All of state() but the number of steps.
  std::vector<torch::Tensor> state_tensors() const;
  double lora_factor() const { return options_.lora.alpha / static_cast<double>(options_.lora.rank); }
  // Gradients of values_, in order, from those of the adapted weights.
  std::vector<torch::Tensor> value_gradients(const std::vector<torch::Tensor>& weight_gradients) const;
  void update(const std::vector<torch::Tensor>& gradients, double learning_rate);
  void update_adamw(Value& value, const torch::Tensor& gradient, double rate);

  Network& network_;
  TorchLearnerOptions options_;
  std::vector<Value> values_;
  std::vector<Adapted> adapted_;
  std::int64_t steps_ = 0;
};

}  // namespace par5
