#include "model/latent.h"

#include <atomic>
#include <cmath>
#include <cstring>
#include <numbers>
#include <optional>

#include "core/hash.h"
#include "core/text.h"

namespace par5 {
namespace {

// SplitMix64 and the Box-Muller transform.
class NormalGenerator {
 public:
  explicit NormalGenerator(std::uint64_t seed) : state_(seed) {}

  void fill(torch::Tensor& values, double deviation) {
    float* out = values.mutable_data_ptr<float>();
    const std::int64_t count = values.numel();
    for (std::int64_t i = 0; i < count; i += 2) {
      const double radius = deviation * std::sqrt(-2.0 * std::log(uniform()));
      const double angle = 2.0 * std::numbers::pi * uniform();
      out[i] = static_cast<float>(radius * std::cos(angle));
      if (i + 1 < count) out[i + 1] = static_cast<float>(radius * std::sin(angle));
    }
  }

 private:
  // In (0, 1].
  double uniform() { return static_cast<double>((next() >> 11) + 1) * 0x1p-53; }
  std::uint64_t next() {
    std::uint64_t z = (state_ += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
  std::uint64_t state_;
};

bool is_output_projection(const std::string& name) {
  return name.starts_with("blocks.") && name.ends_with(".proj.weight");
}

void fill_initial(const TensorSpec& spec, const ModelConfig& model, const InitialWeights& initial,
                  torch::Tensor& value) {
  if (spec.name == embedding_name(model) && initial.embedding.defined()) {
    value.copy_(initial.embedding);
    return;
  }
  if (spec.shape.size() == 2 && !spec.calibration) {
    if (is_output_projection(spec.name)) return;
    const bool embedding = spec.storage != Storage::quantized || spec.name == embedding_name(model);
    double deviation = embedding ? initial.embedding_init_std : initial.init_std;
    if (!embedding && deviation == 0) deviation = 1.0 / std::sqrt(static_cast<double>(spec.shape[1]));
    const auto name = std::as_bytes(std::span(spec.name.data(), spec.name.size()));
    NormalGenerator(initial.seed * 0x9e3779b97f4a7c15u ^ xxh3_64(name)).fill(value, deviation);
  } else if (spec.name == "vocab_bias") {
    if (initial.vocab_bias.defined())
      value.copy_(initial.vocab_bias);
    else
      value.zero_();
  } else if (spec.name.ends_with(".q_gain")) {
    value.fill_(model.q_gain_init);
  } else if (spec.name.ends_with(".resid_mix")) {
    value[0].fill_(1.0);
  } else {
    value.fill_(1.0);
  }
}

std::span<const float> floats(const torch::Tensor& tensor) {
  return {tensor.const_data_ptr<float>(), static_cast<std::size_t>(tensor.numel())};
}
std::span<float> mutable_floats(torch::Tensor& tensor) {
  return {tensor.mutable_data_ptr<float>(), static_cast<std::size_t>(tensor.numel())};
}

}  // namespace

LatentWeights::LatentWeights(const ModelConfig& model, const QuantizerConfig& quantizer, torch::Device device,
                             LearnedScale learned)
    : model_(model), quantizer_(quantizer) {
  const auto add = [&](TensorSpec spec, double value) {
    const auto options = torch::dtype(torch::kFloat32).device(device);
    torch::Tensor values = torch::full(spec.shape, value, options), gradient = torch::zeros(spec.shape, options);
    weights_.push_back({std::move(spec), std::move(values), std::move(gradient)});
  };
  const std::vector<TensorSpec> specs = tensor_specs(model);
  for (const TensorSpec& spec : specs) add(spec, 0.0);
  corrections_.assign(specs.size(), 0);
  if (learned == LearnedScale::none) return;
  for (std::size_t i = 0; i < specs.size(); ++i) {
    if (specs[i].storage != Storage::quantized) continue;
    const std::int64_t scales = scale_count(specs[i].shape, quantizer);
    const std::int64_t count = learned == LearnedScale::row ? specs[i].shape[0] : scales;
    corrections_[i] = weights_.size();
    add({correction_name(specs[i].name), {count}, Storage::fp16, true}, 1.0);
  }
}

LatentWeights::LatentWeights(const ModelConfig& model, const QuantizerConfig& quantizer, const InitialWeights& initial,
                             torch::Device device, LearnedScale learned)
    : LatentWeights(model, quantizer, device, learned) {
  for (std::size_t i = 0; i < corrections_.size(); ++i) {
    torch::Tensor value = torch::zeros(weights_[i].spec.shape);
    fill_initial(weights_[i].spec, model, initial, value);
    weights_[i].value.copy_(value);
  }
}

Result<LatentWeights> LatentWeights::from_checkpoint(const MatchedTensors& matched, const ModelConfig& model,
                                                     const QuantizerConfig& quantizer, torch::Device device) {
  bool corrected = false;
  for (const auto& correction : matched.corrections) corrected = corrected || correction.has_value();
  LatentWeights latent(model, quantizer, device, corrected ? LearnedScale::group : LearnedScale::none);
  const auto load = [](const TensorView& from, LatentWeight& to) -> Status {
    P5_TRY(std::vector<float> values, to_floats(from));
    if (static_cast<std::int64_t>(values.size()) != to.value.numel())
      return bad_data("tensor '" + from.name + "' has " + std::to_string(values.size()) +
                          " values where the quantiser needs " + std::to_string(to.value.numel()),
                      {}, std::nullopt, from.name);
    to.value.copy_(torch::from_blob(values.data(), to.spec.shape, torch::kFloat32));
    return {};
  };
  for (std::size_t i = 0; i < matched.tensors.size(); ++i) {
    P5_OK(load(matched.tensors[i], latent.weights_[i]));
    if (matched.corrections[i]) P5_OK(load(*matched.corrections[i], latent.weights_[latent.corrections_[i]]));
  }
  return latent;
}

std::vector<float> LatentWeights::corrections_of(std::size_t index) const {
  if (corrections_[index] == 0) return {};
  const torch::Tensor factors = weights_[corrections_[index]].value.cpu().contiguous();
  const std::int64_t scales = scale_count(weights_[index].spec.shape, quantizer_), repeats = scales / factors.numel();
  std::vector<float> values;
  for (const float factor : floats(factors)) values.insert(values.end(), static_cast<std::size_t>(repeats), factor);
  return values;
}

// Into `out`, float32 on the CPU, of the tensor's shape.
Status LatentWeights::effective_values(std::size_t index, const ForwardPrecision& precision, torch::Tensor& out) const {
  const LatentWeight& weight = weights_[index];
  const torch::Tensor value = weight.value.cpu().contiguous();
  if (precision.full >= 1) {
    out.copy_(value);
    return {};
  }
  if (weight.spec.storage != Storage::quantized || (corrections_[index] == 0 && !precision.scale_bits)) {
    P5_OK(round_to_storage(weight.spec, floats(value), quantizer_, mutable_floats(out)));
  } else {
    QuantizerConfig quantizer = quantizer_;
    if (!precision.scale_bits) quantizer.scale_bits = 16;
    P5_TRY(const StoredTensor stored, store_tensor(weight.spec, floats(value), quantizer, 1, corrections_of(index)));
    const std::vector<float> values = stored.values();
    std::memcpy(out.mutable_data_ptr<float>(), values.data(), values.size() * sizeof(float));
  }
  if (precision.full > 0) out.mul_(1 - precision.full).add_(value, precision.full);
  return {};
}

Status LatentWeights::refresh(Network& network, const ForwardPrecision& precision) {
  const torch::NoGradGuard no_gradients;
  precision_ = precision;
  const auto count = static_cast<std::int64_t>(corrections_.size());
  std::vector<std::optional<Error>> errors(corrections_.size());
  // Tensors differ in size a thousandfold, so each thread takes the next one when it has finished one.
  std::atomic<std::int64_t> next{0};
  at::parallel_for(0, at::get_num_threads(), 1, [&](std::int64_t, std::int64_t) {
    const torch::NoGradGuard no_gradients_here;
    for (std::int64_t i = next++; i < count; i = next++) {
      const auto index = static_cast<std::size_t>(i);
      torch::Tensor& effective = network.weights()[index].effective;
      const bool direct = effective.is_cpu() && effective.scalar_type() == torch::kFloat32 && effective.is_contiguous();
      torch::Tensor out = direct ? effective.detach() : torch::empty(weights_[index].spec.shape);
      if (Status status = effective_values(index, precision, out); !status) {
        errors[index] = std::move(status).error();
        continue;
      }
      if (direct)
        torch::autograd::impl::bump_version(effective);  // as copy_ does
      else
        effective.copy_(out);
    }
  });
  for (std::optional<Error>& error : errors)
    if (error) return tl::unexpected<Error>(std::move(*error));
  return {};
}

void LatentWeights::collect_gradients(Network& network, double factor) {
  const torch::NoGradGuard no_gradients;
  for (std::size_t i = 0; i < corrections_.size(); ++i) {
    torch::Tensor &effective = network.weights()[i].effective, &sum = weights_[i].gradient;
    const torch::Tensor gradient = effective.grad();
    effective.mutable_grad() = torch::Tensor();
    if (!gradient.defined()) {
      if (cleared_) sum.zero_();
    } else if (!cleared_) {
      sum.add_(gradient, factor);
    } else if (factor == 1 && gradient.scalar_type() == torch::kFloat32 && gradient.is_contiguous()) {
      sum = gradient;
    } else {
      sum.copy_(gradient);
      if (factor != 1) sum.mul_(factor);
    }
  }
  cleared_ = false;
}

// A factor c scales its group's quantised weights q · s · c, so its gradient is the sum of gradient · (q · s · c) / c.
void LatentWeights::finish_gradients(const Network& network) {
  const torch::NoGradGuard no_gradients;
  for (std::size_t i = 0; i < corrections_.size(); ++i) {
    if (corrections_[i] == 0) continue;
    LatentWeight& factors = weights_[corrections_[i]];
    torch::Tensor quantized = network.weights()[i].effective.to(torch::kFloat32);
    if (precision_.full > 0) quantized = quantized - precision_.full * weights_[i].value;
    const torch::Tensor along = (weights_[i].gradient * quantized).view({factors.value.numel(), -1}).sum(1);
    factors.gradient.copy_(along / factors.value);
  }
}

Result<StoredModel> LatentWeights::stored(std::size_t threads) const {
  StoredModel stored{model_, quantizer_, {}};
  for (std::size_t i = 0; i < corrections_.size(); ++i) {
    const torch::Tensor value = weights_[i].value.cpu().contiguous();
    P5_TRY(auto tensor, store_tensor(weights_[i].spec, floats(value), quantizer_, threads, corrections_of(i)));
    stored.tensors.push_back(std::move(tensor));
  }
  return stored;
}

std::vector<Tensor> LatentWeights::tensors() const {
  std::vector<Tensor> tensors;
  for (std::size_t i = 0; i < corrections_.size(); ++i) {
    const torch::Tensor value = weights_[i].value.cpu().contiguous();
    tensors.push_back(Tensor::from_floats(weights_[i].spec.name, weights_[i].spec.shape, floats(value)));
  }
  for (std::size_t i = 0; i < corrections_.size(); ++i) {
    if (corrections_[i] == 0) continue;
    const std::vector<float> factors = corrections_of(i);
    tensors.push_back(
        Tensor::from_floats(weights_[corrections_[i]].spec.name, {static_cast<std::int64_t>(factors.size())}, factors));
  }
  return tensors;
}

}  // namespace par5
