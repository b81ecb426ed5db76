#include "bench/eager_trainer.h"

#include <ATen/autocast_mode.h>

#include <cmath>

#include "pack/quantizer.h"
#include "train/optimizer.h"
#include "train/schedule.h"

namespace par5::bench {
namespace {

torch::Tensor rms(const torch::Tensor& x) {
  const torch::Tensor wide = x.to(torch::kFloat32);
  return wide * torch::rsqrt(wide.square().mean(-1, true) + 0x1p-23);
}

torch::Tensor straight_through(const torch::Tensor& value, const torch::Tensor& stored) {
  return value + (stored - value).detach();
}

}  // namespace

torch::Tensor eager_stored(const TensorSpec& spec, const torch::Tensor& value, const QuantizerConfig& quantizer) {
  const torch::Tensor detached = value.detach();
  switch (spec.storage) {
    case Storage::quantized: {
      const double most = static_cast<double>(max_code(quantizer.grid));
      const torch::Tensor groups = detached.reshape({-1, quantizer.group});
      const torch::Tensor scale = groups.abs().mean(-1, true).clamp_min(0x1p-24).to(torch::kHalf).to(torch::kFloat32);
      return straight_through(value, ((groups / scale).round().clamp(-most, most) * scale).view_as(value));
    }
    case Storage::fp8:
      return straight_through(value, detached.to(torch::kFloat8_e4m3fn).to(torch::kFloat32));
    case Storage::fp16:
      break;
  }
  return straight_through(value, detached.to(torch::kHalf).to(torch::kFloat32));
}

EagerLoss eager_loss(const torch::Tensor& features, const torch::Tensor& embedding, const torch::Tensor& bias,
                     const torch::Tensor& targets, const ModelConfig& model, double z_loss) {
  const torch::Tensor logits = at::linear(features, embedding).to(torch::kFloat32) + bias;
  const double cap = model.softcap_value;
  const torch::Tensor u = (logits / cap).clamp(-2, 2), square = u * u;
  const torch::Tensor capped = cap * (u * (1 - square / 3 + square * square / 15)).clamp(-1, 1);
  const torch::Tensor cross_entropy = at::cross_entropy_loss(capped, targets);
  return {cross_entropy + z_loss * capped.logsumexp(-1).square().mean(), cross_entropy.detach()};
}

void eager_muon(torch::Tensor value, const torch::Tensor& gradient, torch::Tensor momentum_buffer,
                const OptimizerConfig& optimizer, double momentum, torch::ScalarType type) {
  momentum_buffer.mul_(momentum).add_(gradient);
  torch::Tensor direction = gradient + momentum * momentum_buffer;
  if (optimizer.muon_row_norm) direction = rms(direction);
  torch::Tensor x = direction.to(type);
  const bool tall = x.size(0) > x.size(1);
  if (tall) x = x.t();
  x = x / (x.norm() + 1e-7);
  for (std::int64_t i = 0; i < optimizer.muon_iterations; ++i) {
    const torch::Tensor a = x.mm(x.t());
    const torch::Tensor b = -4.7750 * a + 2.0315 * a.mm(a);
    x = 3.4445 * x + b.mm(x);
  }
  if (tall) x = x.t();
  const double scale =
      std::sqrt(std::max(1.0, static_cast<double>(value.size(0)) / static_cast<double>(value.size(1))));
  value.add_(x.to(torch::kFloat32), -optimizer.muon_lr * scale);
}

EagerTrainer::EagerTrainer(const Config& config, const LatentWeights& initial, bool autocast)
    : config_(config), autocast_(autocast) {
  for (const LatentWeight& weight : initial.weights()) {
    const torch::Tensor leaf = weight.value.clone().requires_grad_();
    parameters_[weight.spec.name] = {weight.spec, leaf, at::zeros_like(weight.value), at::zeros_like(weight.value)};
  }
}

torch::Tensor EagerTrainer::stored(const std::string& name) const {
  const Parameter& parameter = parameters_.at(name);
  return eager_stored(parameter.spec, parameter.value, config_.quantizer);
}

torch::Tensor EagerTrainer::attention(const std::string& block, const torch::Tensor& normed, std::int64_t batch,
                                      std::int64_t length) {
  const ModelConfig& model = config_.model;
  const std::int64_t head = model.head_width(), kv_width = model.kv_heads * head;
  const torch::Tensor qkv = at::linear(normed, stored(block + "attn.c_qkv.weight"));
  const auto parts = qkv.split({model.heads * head, kv_width, kv_width}, -1);
  const auto heads_of = [&](const torch::Tensor& x) { return x.view({batch, length, -1, head}); };
  const auto rotate = [&](const torch::Tensor& x) {
    const auto halves = x.chunk(2, -1);
    const torch::Tensor cosine = rope_.cosine.unsqueeze(1), sine = rope_.sine.unsqueeze(1);
    return at::cat({halves[0] * cosine + halves[1] * sine, halves[1] * cosine - halves[0] * sine}, -1);
  };
  const torch::Tensor q = rotate(rms(heads_of(parts[0]))) * stored(block + "attn.q_gain").unsqueeze(-1);
  const torch::Tensor k = rotate(rms(heads_of(parts[1])));
  const auto cast = [&](const torch::Tensor& x) { return x.to(qkv.scalar_type()).transpose(1, 2); };
  const torch::Tensor mixed = at::scaled_dot_product_attention(cast(q), cast(k), cast(heads_of(parts[2])), std::nullopt,
                                                               0.0, true, std::nullopt, true);
  const torch::Tensor rows = mixed.transpose(1, 2).reshape({batch * length, model.heads * head});
  return at::linear(rms(rows), stored(block + "attn.proj.weight"));
}

EagerLoss EagerTrainer::forward(const torch::Tensor& tokens, const torch::Tensor& targets) {
  const ModelConfig& model = config_.model;
  const std::int64_t batch = tokens.size(0), length = tokens.size(1);
  if (!rope_.cosine.defined()) rope_ = rope_table(model, length, torch::kCPU);
  const torch::Tensor embedding = stored("tok_emb.weight");
  torch::Tensor x = at::embedding(embedding, tokens.flatten());
  if (model.factored_embedding()) x = at::linear(x, stored("embed_proj.weight"));
  x = rms(x);
  const torch::Tensor x0 = x, skip_weights = stored("skip_weights");
  std::vector<torch::Tensor> skips;
  const std::int64_t encoder = model.layers / 2;
  for (std::int64_t i = 0; i < model.layers; ++i) {
    const std::string block = "blocks." + std::to_string(i) + ".";
    if (i >= encoder && i - encoder < encoder) {
      x = x + skip_weights[i - encoder] * skips.back();
      skips.pop_back();
    }
    const torch::Tensor mix = stored(block + "resid_mix");
    x = mix[0] * x + mix[1] * x0;
    x = x + stored(block + "attn_scale") * attention(block, rms(x), batch, length);
    const torch::Tensor hidden = at::linear(rms(x), stored(block + "mlp.fc.weight"));
    const torch::Tensor active = rms(at::relu(hidden).square());
    x = x + stored(block + "mlp_scale") * at::linear(active, stored(block + "mlp.proj.weight"));
    if (i < encoder) skips.push_back(x);
  }
  torch::Tensor features = rms(x);
  if (model.factored_embedding()) features = at::linear(features, stored("embed_proj_rev.weight"));
  return eager_loss(features, embedding, stored("vocab_bias"), targets.flatten(), model, config_.train.z_loss);
}

void EagerTrainer::update() {
  const torch::NoGradGuard no_gradients;
  const OptimizerConfig& optimizer = config_.optimizer;
  const double momentum = muon_momentum(optimizer, steps_);
  ++steps_;
  std::vector<TensorSpec> specs;
  for (const auto& [name, parameter] : parameters_) specs.push_back(parameter.spec);
  for (const ParameterGroup& group : parameter_groups(specs, optimizer))
    for (const std::size_t i : group.members) {
      Parameter& parameter = parameters_.at(specs[i].name);
      const torch::Tensor gradient = parameter.value.grad();
      if (group.rule == UpdateRule::muon) {
        eager_muon(parameter.value.detach(), gradient, parameter.first, optimizer, momentum,
                   autocast_ ? torch::kBFloat16 : torch::kFloat32);
      } else {
        parameter.first.mul_(optimizer.adam_beta1).add_(gradient, 1 - optimizer.adam_beta1);
        parameter.second.mul_(optimizer.adam_beta2).addcmul_(gradient, gradient, 1 - optimizer.adam_beta2);
        const double first = 1 - std::pow(optimizer.adam_beta1, steps_),
                     second = 1 - std::pow(optimizer.adam_beta2, steps_);
        const torch::Tensor root = (parameter.second / second).sqrt() + optimizer.adam_epsilon;
        parameter.value.detach().addcdiv_(parameter.first / first, root, -group.learning_rate);
      }
      parameter.value.mutable_grad() = torch::Tensor();
    }
}

double EagerTrainer::step(const torch::Tensor& tokens, const torch::Tensor& targets) {
  at::autocast::set_autocast_enabled(at::kCPU, autocast_);
  at::autocast::set_autocast_dtype(at::kCPU, at::kBFloat16);
  const EagerLoss loss = forward(tokens, targets);
  at::autocast::set_autocast_enabled(at::kCPU, false);
  at::autocast::clear_cache();
  loss.total.backward();
  update();
  return loss.cross_entropy.item<double>();
}

}  // namespace par5::bench
