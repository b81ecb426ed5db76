#include "eval/torch/torch_learner.h"

#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/hash.h"
#include "eval/torch/token_tensor.h"
#include "model/runtime.h"

namespace par5 {
namespace {

constexpr double kAdamEpsilon = 1e-8;

// Uniform in ±1 / √inputs, by SplitMix64 from the tensor's name: the same on every machine.
torch::Tensor initial_down(const std::string& name, std::int64_t rank, std::int64_t inputs) {
  std::uint64_t state = xxh3_64(std::as_bytes(std::span(name.data(), name.size())));
  const double bound = 1.0 / std::sqrt(static_cast<double>(inputs));
  torch::Tensor down = torch::empty({rank, inputs});
  float* out = down.mutable_data_ptr<float>();
  for (std::int64_t i = 0; i < rank * inputs; ++i) {
    std::uint64_t z = (state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    z ^= z >> 31;
    out[i] = static_cast<float>(bound * (2.0 * static_cast<double>(z >> 11) * 0x1p-53 - 1.0));
  }
  return down;
}

}  // namespace

TorchLearnerOptions torch_learner_options(ModeKind kind, const EvalSettings& settings, double z_loss) {
  TorchLearnerOptions options;
  options.adaptation = adaptation_of(kind);
  options.ttt = settings.learning(kind);
  options.lora = settings.ttt_lora;
  options.z_loss = z_loss;
  return options;
}

Result<std::unique_ptr<TorchLearner>> TorchLearner::create(Network& network, const TorchLearnerOptions& options) {
  return guarded([&]() -> Result<std::unique_ptr<TorchLearner>> {
    std::unique_ptr<TorchLearner> learner(new TorchLearner(network, options));
    const torch::NoGradGuard no_gradients;
    for (NetworkWeight& weight : network.weights()) {
      const bool lora = options.adaptation == Adaptation::lora;
      const double factor = rate_factor(weight.spec, options.adaptation, options.ttt, options.lora);
      const bool learns = factor > 0;
      weight.effective.requires_grad_(learns);
      if (!learns) continue;
      const torch::Tensor stored = weight.effective.detach().to(torch::kFloat32, false, /*copy=*/true);
      learner->adapted_.push_back({weight.effective, stored, learner->values_.size()});
      if (!lora) {
        learner->add_value(stored, factor);
        continue;
      }
      const std::int64_t rank = options.lora.rank;
      learner->add_value(torch::zeros({stored.size(0), rank}, stored.options()), factor);
      learner->add_value(initial_down(weight.spec.name, rank, stored.size(1)).to(stored.device()), factor);
    }
    network.freeze();
    return learner;
  });
}

TorchLearner::~TorchLearner() {
  const torch::NoGradGuard no_gradients;
  network_.thaw();
  for (Adapted& adapted : adapted_) {
    adapted.weight.copy_(adapted.stored);
    adapted.weight.requires_grad_(false);
  }
}

void TorchLearner::add_value(const torch::Tensor& initial, double rate_factor) {
  const bool adam = options_.ttt.optimizer == TttOptimizer::adamw;
  values_.push_back({initial.clone(), initial, torch::zeros_like(initial),
                     adam ? torch::zeros_like(initial) : torch::Tensor(), rate_factor});
}

std::int64_t TorchLearner::adapted_values() const {
  std::int64_t count = 0;
  for (const Value& value : values_) count += value.value.numel();
  return count;
}

Status TorchLearner::step(const ScoredWindows& windows, double learning_rate) {
  if (learning_rate == 0) return {};
  return guarded([&]() -> Status {
    const Network::Loss loss = network_.loss(
        token_tensor(windows.inputs(), windows.windows(), windows.length(), network_.device()),
        token_tensor(windows.targets(), windows.windows(), windows.length(), network_.device()), options_.z_loss);
    std::vector<torch::Tensor> leaves;
    for (const Adapted& adapted : adapted_) leaves.push_back(adapted.weight);
    const std::vector<torch::Tensor> gradients = torch::autograd::grad({loss.total}, leaves);
    const torch::NoGradGuard no_gradients;
    update(value_gradients(gradients), learning_rate);
    write_weights();
    return {};
  });
}

std::vector<torch::Tensor> TorchLearner::value_gradients(const std::vector<torch::Tensor>& weight_gradients) const {
  std::vector<torch::Tensor> gradients;
  for (std::size_t i = 0; i < adapted_.size(); ++i) {
    const torch::Tensor gradient = weight_gradients[i].to(torch::kFloat32);
    if (options_.adaptation != Adaptation::lora) {
      gradients.push_back(gradient);
      continue;
    }
    const torch::Tensor &up = values_[adapted_[i].value].value, &down = values_[adapted_[i].value + 1].value;
    gradients.push_back(at::mm(gradient, down.t()) * lora_factor());
    gradients.push_back(at::mm(up.t(), gradient) * lora_factor());
  }
  return gradients;
}

void TorchLearner::update(const std::vector<torch::Tensor>& gradients, double learning_rate) {
  const TttConfig& ttt = options_.ttt;
  torch::Tensor squares = torch::zeros({}, gradients[0].options());
  for (const torch::Tensor& gradient : gradients) squares += gradient.square().sum();
  const double norm = squares.sqrt().item<double>();
  const double factor = ttt.clip > 0 ? std::min(1.0, ttt.clip / (norm + 1e-6)) : 1.0;
  ++steps_;
  for (std::size_t i = 0; i < values_.size(); ++i) {
    Value& value = values_[i];
    const double rate = learning_rate * value.rate_factor;
    if (ttt.optimizer == TttOptimizer::adamw) {
      update_adamw(value, gradients[i] * factor, rate);
    } else {
      double scale = factor;
      if (ttt.optimizer == TttOptimizer::lars) {
        const double size = gradients[i].norm().item<double>();
        scale = size > 0 ? value.initial.norm().item<double>() / size : 0.0;
      }
      value.first.mul_(ttt.momentum).add_(gradients[i], scale);
      value.value.sub_(value.first, rate);
    }
    if (ttt.decay > 0) value.value.add_(value.initial - value.value, ttt.decay);
  }
}

void TorchLearner::update_adamw(Value& value, const torch::Tensor& gradient, double rate) {
  const double beta1 = options_.ttt.momentum, beta2 = options_.ttt.adam_beta2;
  const auto count = static_cast<double>(steps_);
  value.first.mul_(beta1).add_(gradient, 1.0 - beta1);
  value.second.mul_(beta2).addcmul_(gradient, gradient, 1.0 - beta2);
  const torch::Tensor deviation = value.second.sqrt().div_(std::sqrt(1.0 - std::pow(beta2, count))).add_(kAdamEpsilon);
  value.value.addcdiv_(value.first, deviation, -rate / (1.0 - std::pow(beta1, count)));
}

void TorchLearner::write_weights() {
  for (Adapted& adapted : adapted_) {
    const torch::Tensor& value = values_[adapted.value].value;
    if (options_.adaptation == Adaptation::lora)
      adapted.weight.copy_(adapted.stored.addmm(value, values_[adapted.value + 1].value, 1.0, lora_factor()));
    else
      adapted.weight.copy_(value);
  }
}

void TorchLearner::reset() {
  const torch::NoGradGuard no_gradients;
  for (Value& value : values_) {
    value.value.copy_(value.initial);
    value.first.zero_();
    if (value.second.defined()) value.second.zero_();
  }
  steps_ = 0;
  for (Adapted& adapted : adapted_) adapted.weight.copy_(adapted.stored);
}

std::string TorchLearner::description() const {
  return learner_description(options_.adaptation, options_.ttt, options_.lora, options_.z_loss);
}

std::vector<torch::Tensor> TorchLearner::state_tensors() const {
  std::vector<torch::Tensor> tensors;
  for (const Value& value : values_) {
    tensors.push_back(value.value);
    tensors.push_back(value.first);
    if (value.second.defined()) tensors.push_back(value.second);
  }
  return tensors;
}

Result<std::vector<std::byte>> TorchLearner::state() const {
  return guarded([&]() -> Result<std::vector<std::byte>> {
    std::vector<std::byte> bytes;
    const auto append = [&bytes](const void* data, std::size_t size) {
      const auto* first = static_cast<const std::byte*>(data);
      bytes.insert(bytes.end(), first, first + size);
    };
    for (const torch::Tensor& tensor : state_tensors()) {
      const torch::Tensor floats = tensor.cpu().contiguous();
      append(floats.const_data_ptr(), floats.nbytes());
    }
    append(&steps_, sizeof steps_);
    return bytes;
  });
}

Status TorchLearner::restore(std::span<const std::byte> state) {
  return guarded([&]() -> Status {
    const torch::NoGradGuard no_gradients;
    const std::vector<torch::Tensor> tensors = state_tensors();
    std::size_t expected = sizeof steps_;
    for (const torch::Tensor& tensor : tensors) expected += tensor.nbytes();
    if (state.size() != expected)
      return bad_data("the learner's snapshot has " + std::to_string(state.size()) + " bytes where this model's has " +
                      std::to_string(expected));
    for (const torch::Tensor& tensor : tensors) {
      torch::Tensor floats = torch::empty(tensor.sizes(), torch::kFloat32);
      std::memcpy(floats.mutable_data_ptr(), state.data(), floats.nbytes());
      state = state.subspan(floats.nbytes());
      tensor.copy_(floats);
    }
    std::memcpy(&steps_, state.data(), sizeof steps_);
    write_weights();
    return {};
  });
}

}  // namespace par5
