#include "model/operations.h"

#include "model/fused.h"

namespace par5 {
namespace {

// At least float32, so that bfloat16 inputs are normalised in float32 and double tests stay double.
torch::Tensor widened(const torch::Tensor& x) {
  return x.scalar_type() == torch::kBFloat16 ? x.to(torch::kFloat32) : x;
}

torch::Tensor eager_rms_norm(const torch::Tensor& x, torch::ScalarType out) {
  const torch::Tensor wide = widened(x);
  return (wide * (wide.square().mean(-1, true) + kRmsEpsilon).rsqrt()).to(out);
}

}  // namespace

torch::Tensor rms_norm(const torch::Tensor& x, torch::ScalarType out, Kernels kernels) {
  if (kernels == Kernels::automatic && fused::supported(x)) return fused::rms_norm(x, out);
  return eager_rms_norm(x, out);
}

torch::Tensor layer_norm(const torch::Tensor& x, const torch::Tensor& gain, torch::ScalarType out) {
  const torch::Tensor wide = widened(x);
  const auto weight = gain.defined() ? std::optional<torch::Tensor>(gain.to(wide.scalar_type())) : std::nullopt;
  return at::layer_norm(wide, {wide.size(-1)}, weight, std::nullopt, kLayerNormEpsilon).to(out);
}

torch::Tensor normalized(const torch::Tensor& x, Norm norm, torch::ScalarType out, Kernels kernels) {
  return norm == Norm::rms ? rms_norm(x, out, kernels) : layer_norm(x, {}, out);
}

Normed add_scaled(const torch::Tensor& x, const torch::Tensor& branch, const torch::Tensor& scale, Norm norm,
                  torch::ScalarType out, Kernels kernels) {
  if (kernels == Kernels::automatic && norm == Norm::rms && fused::supported(x))
    return fused::add_scaled(x, branch, scale, out);
  const torch::Tensor sum = x + scale * widened(branch);
  return {sum, normalized(sum, norm, out, kernels)};
}

Border cross_border(const BorderInputs& inputs, Norm norm, torch::ScalarType out, Kernels kernels) {
  if (kernels == Kernels::automatic && norm == Norm::rms && fused::supported(inputs.x))
    return fused::cross_border(inputs, out);
  const torch::Tensor end = inputs.branch.defined() ? inputs.x + inputs.scale * widened(inputs.branch) : inputs.x;
  const torch::Tensor& skip = inputs.skip.defined() ? inputs.skip : end;
  const torch::Tensor joined = inputs.skip_weight.defined() ? end + inputs.skip_weight * skip : end;
  const torch::Tensor sum = inputs.mix[0] * joined + inputs.mix[1] * inputs.x0;
  return {end, sum, normalized(sum, norm, out, kernels), inputs.x0};
}

std::optional<double> squared_relu_slope(Activation activation) {
  if (activation == Activation::relu2) return 0.0;
  if (activation == Activation::leaky_relu2) return kLeakySlope;
  return std::nullopt;
}

torch::Tensor activate(const torch::Tensor& hidden, Activation activation, bool with_norm, Kernels kernels) {
  const std::optional<double> slope = squared_relu_slope(activation);
  if (kernels == Kernels::automatic && slope && fused::supported(hidden))
    return fused::squared_relu(hidden, *slope, with_norm);
  const torch::Tensor wide = widened(hidden);
  torch::Tensor active;
  switch (activation) {
    case Activation::relu2:
      active = at::relu(wide).square();
      break;
    case Activation::leaky_relu2:
      active = at::leaky_relu(wide, kLeakySlope).square();
      break;
    case Activation::swiglu: {
      const auto halves = wide.chunk(2, -1);
      active = at::silu(halves[0]) * halves[1];
      break;
    }
    case Activation::gelu:
      active = at::gelu(wide);
      break;
  }
  if (with_norm) return rms_norm(active, hidden.scalar_type(), kernels);
  return active.to(hidden.scalar_type());
}

torch::Tensor softcapped(const torch::Tensor& logits, Softcap softcap, double value) {
  switch (softcap) {
    case Softcap::none:
      return logits;
    case Softcap::tanh:
      return value * at::tanh(logits / value);
    case Softcap::poly5: {
      const torch::Tensor u = (logits / value).clamp(-2, 2);
      const torch::Tensor square = u * u;
      return value * (u * (1 - square / 3 + square * square / 15)).clamp(-1, 1);
    }
  }
  return logits;
}

}  // namespace par5
