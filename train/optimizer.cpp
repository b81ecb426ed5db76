#include "train/optimizer.h"

#include <ATen/Parallel.h>
#include <ATen/ops/_fused_adamw.h>

#include <cmath>

#include "train/muon.h"

namespace par5 {
namespace {

bool is_token_or_position_table(const std::string& name) {
  return name == "tok_emb.weight" || name == "transformer.wte.weight" || name == "transformer.wpe.weight";
}

}  // namespace

std::vector<ParameterGroup> parameter_groups(const std::vector<TensorSpec>& specs, const OptimizerConfig& config) {
  if (config.kind == OptimizerKind::adamw) {
    ParameterGroup all{"all", UpdateRule::adam, config.adamw_lr, config.weight_decay, {}};
    for (std::size_t i = 0; i < specs.size(); ++i) all.members.push_back(i);
    return {all};
  }
  ParameterGroup matrices{"matrices", UpdateRule::muon, config.muon_lr, config.weight_decay, {}};
  ParameterGroup calibration{"calibration", UpdateRule::adam, config.scalar_lr, 0, {}};
  ParameterGroup embedding{"embedding", UpdateRule::adam, config.embedding_lr, 0, {}};
  for (std::size_t i = 0; i < specs.size(); ++i) {
    const TensorSpec& spec = specs[i];
    const bool matrix = spec.shape.size() == 2 && !spec.calibration;
    ParameterGroup& group = !matrix ? calibration : is_token_or_position_table(spec.name) ? embedding : matrices;
    group.members.push_back(i);
  }
  std::vector<ParameterGroup> groups;
  for (ParameterGroup* group : {&matrices, &calibration, &embedding})
    if (!group->members.empty()) groups.push_back(std::move(*group));
  return groups;
}

double gradient_norm(const std::vector<torch::Tensor>& gradients) {
  double sum = 0;
  for (const torch::Tensor& gradient : gradients) {
    const double norm = gradient.norm().item<double>();
    sum += norm * norm;
  }
  return std::sqrt(sum);
}

Optimizer::Optimizer(std::vector<TensorSpec> specs, const OptimizerConfig& config, torch::ScalarType iteration_type,
                     torch::Device device)
    : specs_(std::move(specs)),
      config_(config),
      iteration_type_(iteration_type),
      groups_(parameter_groups(specs_, config)),
      moments_(specs_.size()) {
  const auto options = torch::TensorOptions().dtype(torch::kFloat32).device(device);
  for (const ParameterGroup& group : groups_) {
    for (const std::size_t i : group.members) {
      moments_[i].first = torch::zeros(specs_[i].shape, options);
      if (group.rule == UpdateRule::adam)
        moments_[i].second = torch::zeros(specs_[i].shape, options);
      else if (config.muon_variant == MuonVariant::normuon)
        moments_[i].second = torch::zeros({specs_[i].shape[0], 1}, options);
    }
  }
}

void Optimizer::step(const std::vector<torch::Tensor>& values, const std::vector<torch::Tensor>& gradients,
                     double factor, double momentum) {
  const torch::NoGradGuard no_gradients;
  ++steps_;
  if (config_.clip > 0) {
    const double norm = gradient_norm(gradients);
    if (norm > config_.clip)
      for (torch::Tensor gradient : gradients) gradient.mul_(config_.clip / (norm + 1e-6));
  }
  for (const ParameterGroup& group : groups_) {
    const double rate = group.learning_rate * factor;
    if (group.rule == UpdateRule::adam) {
      update_adam(group, values, gradients, rate);
      continue;
    }
    // One matrix per thread: the products of an iteration are too small to share.
    const auto count = static_cast<std::int64_t>(group.members.size());
    at::parallel_for(0, count, 1, [&](std::int64_t begin, std::int64_t end) {
      const torch::NoGradGuard no_gradients_here;
      for (std::int64_t k = begin; k < end; ++k) {
        const std::size_t i = group.members[static_cast<std::size_t>(k)];
        torch::Tensor value = values[i];
        if (group.weight_decay > 0) value.mul_(1.0 - rate * group.weight_decay);
        update_muon(value, gradients[i], moments_[i], rate, momentum);
      }
    });
  }
}

void Optimizer::update_muon(torch::Tensor value, const torch::Tensor& gradient, Moments& moments, double rate,
                            double momentum) {
  torch::Tensor direction = nesterov_direction(gradient, moments.first, momentum, config_.muon_row_norm);
  direction = newton_schulz(direction, {config_.muon_coefficients, config_.muon_iterations, iteration_type_,
                                        config_.muon_form, config_.muon_products});
  if (config_.muon_variant == MuonVariant::normuon)
    direction = normalize_neurons(direction, moments.second, config_.normuon_beta2);
  value.add_(direction, -rate * muon_scale(value.size(0), value.size(1)));
}

void Optimizer::update_adam(const ParameterGroup& group, const std::vector<torch::Tensor>& values,
                            const std::vector<torch::Tensor>& gradients, double rate) {
  std::vector<torch::Tensor> members, slopes, firsts, seconds, counts;
  for (const std::size_t i : group.members) {
    members.push_back(values[i]);
    slopes.push_back(gradients[i]);
    firsts.push_back(moments_[i].first);
    seconds.push_back(moments_[i].second);
    counts.push_back(
        torch::full({}, static_cast<double>(steps_), torch::dtype(torch::kFloat32).device(values[i].device())));
  }
  at::_fused_adamw_(members, slopes, firsts, seconds, /*max_exp_avg_sqs=*/{}, counts, rate, config_.adam_beta1,
                    config_.adam_beta2, group.weight_decay, config_.adam_epsilon, /*amsgrad=*/false,
                    /*maximize=*/false);
}

std::vector<NamedTensor> Optimizer::state() const {
  std::vector<NamedTensor> state;
  for (const ParameterGroup& group : groups_) {
    const bool adam = group.rule == UpdateRule::adam;
    for (const std::size_t i : group.members) {
      state.push_back({(adam ? "adam.first." : "muon.momentum.") + specs_[i].name, moments_[i].first});
      if (moments_[i].second.defined())
        state.push_back({(adam ? "adam.second." : "muon.rows.") + specs_[i].name, moments_[i].second});
    }
  }
  return state;
}

}  // namespace par5
