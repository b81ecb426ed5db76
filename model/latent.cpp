#include "model/latent.h"

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
  if (spec.shape.size() == 2 && !spec.calibration) {
    if (is_output_projection(spec.name)) return;
    const bool embedding = spec.storage != Storage::quantized || spec.name == embedding_name(model);
    double deviation = embedding ? initial.embedding_init_std : initial.init_std;
    if (!embedding && deviation == 0) deviation = 1.0 / std::sqrt(static_cast<double>(spec.shape[1]));
    const auto name = std::as_bytes(std::span(spec.name.data(), spec.name.size()));
    NormalGenerator(initial.seed * 0x9e3779b97f4a7c15u ^ xxh3_64(name)).fill(value, deviation);
  } else if (spec.name == "vocab_bias") {
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

// The values that the stored tensor would stand for; `value` on the CPU, contiguous.
Status to_stored_precision(const LatentWeight& weight, const QuantizerConfig& quantizer, torch::Tensor& out) {
  const torch::Tensor value = weight.value.cpu().contiguous();
  if (weight.spec.storage == Storage::quantized)
    return quantize_dequantize(weight.spec.name, weight.spec.shape, floats(value), quantizer, mutable_floats(out));
  P5_TRY(const StoredTensor stored, store_tensor(weight.spec, floats(value), quantizer));
  const std::vector<float> values = stored.values();
  std::memcpy(out.mutable_data_ptr<float>(), values.data(), values.size() * sizeof(float));
  return {};
}

}  // namespace

LatentWeights::LatentWeights(const ModelConfig& model, const QuantizerConfig& quantizer, torch::Device device)
    : model_(model), quantizer_(quantizer) {
  for (TensorSpec& spec : tensor_specs(model)) {
    const auto options = torch::dtype(torch::kFloat32).device(device);
    torch::Tensor value = torch::zeros(spec.shape, options), gradient = torch::zeros(spec.shape, options);
    weights_.push_back({std::move(spec), std::move(value), std::move(gradient)});
  }
}

LatentWeights::LatentWeights(const ModelConfig& model, const QuantizerConfig& quantizer, const InitialWeights& initial,
                             torch::Device device)
    : LatentWeights(model, quantizer, device) {
  for (LatentWeight& weight : weights_) {
    torch::Tensor value = torch::zeros(weight.spec.shape);
    fill_initial(weight.spec, model, initial, value);
    weight.value.copy_(value);
  }
}

Result<LatentWeights> LatentWeights::from_checkpoint(const MatchedTensors& matched, const ModelConfig& model,
                                                     const QuantizerConfig& quantizer, torch::Device device) {
  LatentWeights latent(model, quantizer, device);
  for (std::size_t i = 0; i < latent.weights_.size(); ++i) {
    P5_TRY(std::vector<float> values, to_floats(matched.tensors[i]));
    latent.weights_[i].value.copy_(torch::from_blob(values.data(), latent.weights_[i].spec.shape, torch::kFloat32));
  }
  return latent;
}

Status LatentWeights::refresh(Network& network) {
  const torch::NoGradGuard no_gradients;
  const auto count = static_cast<std::int64_t>(weights_.size());
  std::vector<std::optional<Error>> errors(weights_.size());
  at::parallel_for(0, count, 1, [&](std::int64_t begin, std::int64_t end) {
    const torch::NoGradGuard no_gradients_here;
    for (std::int64_t i = begin; i < end; ++i) {
      torch::Tensor out = torch::empty(weights_[i].spec.shape);
      if (Status status = to_stored_precision(weights_[i], quantizer_, out); !status) {
        errors[i] = std::move(status).error();
        continue;
      }
      network.weights()[i].effective.copy_(out);
    }
  });
  for (std::optional<Error>& error : errors)
    if (error) return tl::unexpected<Error>(std::move(*error));
  return {};
}

void LatentWeights::collect_gradients(Network& network, double factor) {
  const torch::NoGradGuard no_gradients;
  for (std::size_t i = 0; i < weights_.size(); ++i) {
    torch::Tensor& effective = network.weights()[i].effective;
    if (!effective.grad().defined()) continue;
    weights_[i].gradient.add_(effective.grad(), factor);
    effective.mutable_grad() = torch::Tensor();
  }
}

void LatentWeights::clear_gradients() {
  for (LatentWeight& weight : weights_) weight.gradient.zero_();
}

std::vector<Tensor> LatentWeights::tensors() const {
  std::vector<Tensor> tensors;
  for (const LatentWeight& weight : weights_) {
    const torch::Tensor value = weight.value.cpu().contiguous();
    tensors.push_back(Tensor::from_floats(weight.spec.name, weight.spec.shape, floats(value)));
  }
  return tensors;
}

}  // namespace par5
