// The optimisers behind one interface: Muon for matrices with Adam for the rest, or AdamW for everything.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/config.h"
#include "model/tensor.h"
#include "pack/architecture.h"

namespace par5 {

enum class UpdateRule { muon, adam };

// Tensors that are updated alike. `members` are indices into tensor_specs.
struct ParameterGroup {
  std::string name;  // "matrices", "calibration", "embedding", "all"
  UpdateRule rule = UpdateRule::adam;
  double learning_rate = 0;
  double weight_decay = 0;  // decoupled: w ← w · (1 − rate · weight_decay) before the update
  std::vector<std::size_t> members;
};

// Which tensor belongs to which group. kind = muon: every 2-D matrix, both embedding projections included, is Muon's;
// calibration tensors (also the 2-D resid_mix and skip_weights) and gains of LayerNorms are Adam's with scalar_lr; the
// token embedding (gpt2: and the position table) is Adam's with embedding_lr. kind = adamw: one group. Every tensor is
// in exactly one group; empty groups are left out.
std::vector<ParameterGroup> parameter_groups(const std::vector<TensorSpec>& specs, const OptimizerConfig& config);

// A tensor of a saved state, by name.
struct NamedTensor {
  std::string name;
  torch::Tensor tensor;
};

class Optimizer {
 public:
  // `iteration_type` is the type of Muon's iteration: float32 or bfloat16. State lives on `device`.
  Optimizer(std::vector<TensorSpec> specs, const OptimizerConfig& config, torch::ScalarType iteration_type,
            torch::Device device);

  // One step: values[i] (float32, changed in place) by gradients[i] (float32, same shape), both in the order of specs.
  // Rates are the groups' times `factor`. With config.clip the gradients are first scaled, in place, to that norm.
  void step(const std::vector<torch::Tensor>& values, const std::vector<torch::Tensor>& gradients, double factor,
            double momentum);

  const std::vector<ParameterGroup>& groups() const { return groups_; }
  // Adam's bias correction counts these.
  std::int64_t steps() const { return steps_; }
  void set_steps(std::int64_t steps) { steps_ = steps; }
  // The state's own tensors (not copies), in a fixed order: Muon's momentum (NorMuon: and row moments), Adam's first
  // and second moments.
  std::vector<NamedTensor> state() const;

 private:
  struct Moments {
    torch::Tensor first;
    torch::Tensor second;  // Adam: by value; NorMuon: [rows, 1]; Muon: none
  };
  void update_muon(torch::Tensor value, const torch::Tensor& gradient, Moments& moments, double rate, double momentum);
  void update_adam(const ParameterGroup& group, const std::vector<torch::Tensor>& values,
                   const std::vector<torch::Tensor>& gradients, double rate);

  std::vector<TensorSpec> specs_;
  OptimizerConfig config_;
  torch::ScalarType iteration_type_;
  std::vector<ParameterGroup> groups_;
  std::vector<Moments> moments_;
  std::int64_t steps_ = 0;
};

// The euclidean norm over all gradients together, summed in double.
double gradient_norm(const std::vector<torch::Tensor>& gradients);

}  // namespace par5
