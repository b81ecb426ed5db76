#include "model/head.h"

#include <algorithm>
#include <optional>
#include <vector>

namespace par5 {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::tensor_list;

// Rows whose logits fill about 8 MB: they stay in the last-level cache between the passes over them.
std::int64_t block_rows(std::int64_t vocab, std::int64_t rows) {
  return std::clamp<std::int64_t>((std::int64_t{2} << 20) / vocab, 16, std::max<std::int64_t>(rows, 16));
}

torch::Tensor widened(const torch::Tensor& x) {
  return x.scalar_type() == torch::kBFloat16 ? x.to(torch::kFloat32) : x;
}

// Logits before the softcap.
torch::Tensor raw_logits(const torch::Tensor& features, const torch::Tensor& embedding, const torch::Tensor& bias) {
  const torch::Tensor logits = widened(at::mm(features, embedding.t()));
  return bias.defined() ? logits + bias : logits;
}

// d softcap(z) / dz from z before the cap.
torch::Tensor softcap_slope(const torch::Tensor& logits, Softcap softcap, double value) {
  const torch::Tensor u = logits / value;
  if (softcap == Softcap::tanh) return 1 - at::tanh(u).square();
  const torch::Tensor square = u * u;
  const torch::Tensor inside = (u.abs() <= 2).logical_and((u * (1 - square / 3 + square * square / 15)).abs() <= 1);
  return (1 - square + square * square / 3) * inside;
}

// One block's sums and, in `gradient`, the loss's derivative with respect to the raw logits times the row count.
struct BlockSums {
  torch::Tensor cross_entropy;   // scalar, double
  torch::Tensor squared_logsum;  // scalar, double
  torch::Tensor gradient;        // [rows, vocab]
};

BlockSums block_loss(const torch::Tensor& raw, const torch::Tensor& targets, double z_loss, bool with_gradient,
                     const HeadSettings& settings) {
  const torch::Tensor logits = softcapped(raw, settings.softcap, settings.softcap_value);
  const torch::Tensor logsum = at::logsumexp(logits, {1}, true);
  const torch::Tensor column = targets.unsqueeze(1);
  BlockSums sums;
  sums.cross_entropy = (logsum - logits.gather(1, column)).sum(torch::kFloat64);
  sums.squared_logsum = logsum.square().sum(torch::kFloat64);
  if (with_gradient) {
    torch::Tensor gradient = (logits - logsum).exp_();
    if (z_loss != 0) gradient.mul_(1 + 2 * z_loss * logsum);
    gradient.scatter_add_(1, column, at::full_like(column, -1, gradient.options()));
    if (settings.softcap != Softcap::none) gradient.mul_(softcap_slope(raw, settings.softcap, settings.softcap_value));
    sums.gradient = gradient;
  }
  return sums;
}

class BlockwiseLoss : public torch::autograd::Function<BlockwiseLoss> {
 public:
  static tensor_list forward(AutogradContext* context, const torch::Tensor& features, const torch::Tensor& embedding,
                             const std::optional<torch::Tensor>& optional_bias, const torch::Tensor& targets,
                             double z_loss, const HeadSettings& settings, bool recording) {
    const torch::Tensor bias = optional_bias.value_or(torch::Tensor());
    const std::int64_t rows = features.size(0), step = block_rows(embedding.size(0), rows);
    const torch::Tensor matrix = embedding.to(features.scalar_type());
    const bool for_features = recording && features.requires_grad();
    const bool for_embedding = recording && embedding.requires_grad();
    const bool for_bias = recording && bias.defined() && bias.requires_grad();
    const bool with_gradient = for_features || for_embedding || for_bias;
    torch::Tensor features_gradient, embedding_gradient, bias_gradient;
    if (for_features) features_gradient = at::empty_like(features);
    if (for_embedding) embedding_gradient = at::zeros_like(embedding);
    if (for_bias) bias_gradient = at::zeros_like(bias);
    torch::Tensor cross_entropy = at::zeros({}, features.options().dtype(torch::kFloat64)),
                  squared = at::zeros_like(cross_entropy);
    for (std::int64_t begin = 0; begin < rows; begin += step) {
      const std::int64_t count = std::min(step, rows - begin);
      const torch::Tensor part = features.narrow(0, begin, count);
      const BlockSums sums =
          block_loss(raw_logits(part, matrix, bias), targets.narrow(0, begin, count), z_loss, with_gradient, settings);
      cross_entropy += sums.cross_entropy;
      squared += sums.squared_logsum;
      if (!with_gradient) continue;
      const torch::Tensor gradient = sums.gradient.div(static_cast<double>(rows));
      if (for_bias) bias_gradient += gradient.sum(0);
      const torch::Tensor narrow = gradient.to(features.scalar_type());
      if (for_features) features_gradient.narrow(0, begin, count).copy_(at::mm(narrow, matrix));
      if (for_embedding) embedding_gradient += at::mm(narrow.t(), part);
    }
    context->save_for_backward({features_gradient, embedding_gradient, bias_gradient});
    const auto type = features.scalar_type() == torch::kFloat64 ? torch::kFloat64 : torch::kFloat32;
    const torch::Tensor mean = (cross_entropy / rows).to(type),
                        total = ((cross_entropy + z_loss * squared) / rows).to(type);
    context->mark_non_differentiable({mean});
    return {total, mean};
  }

  static tensor_list backward(AutogradContext* context, const tensor_list& gradients) {
    tensor_list saved = context->get_saved_variables();
    const torch::Tensor& factor = gradients[0];
    for (torch::Tensor& gradient : saved)
      if (gradient.defined()) gradient = gradient * factor.to(gradient.scalar_type());
    return {saved[0], saved[1], saved[2], torch::Tensor(), torch::Tensor(), torch::Tensor(), torch::Tensor()};
  }
};

}  // namespace

torch::Tensor head_logits(const torch::Tensor& features, const torch::Tensor& embedding, const torch::Tensor& bias,
                          const HeadSettings& settings) {
  return softcapped(raw_logits(features, embedding.to(features.scalar_type()), bias), settings.softcap,
                    settings.softcap_value);
}

HeadLoss head_loss(const torch::Tensor& features, const torch::Tensor& embedding, const torch::Tensor& bias,
                   const torch::Tensor& targets, double z_loss, const HeadSettings& settings) {
  const auto optional_bias = bias.defined() ? std::optional<torch::Tensor>(bias) : std::nullopt;
  const tensor_list outputs = BlockwiseLoss::apply(features, embedding, optional_bias, targets, z_loss, settings,
                                                   torch::GradMode::is_enabled());
  return {outputs[0], outputs[1]};
}

HeadLoss eager_head_loss(const torch::Tensor& features, const torch::Tensor& embedding, const torch::Tensor& bias,
                         const torch::Tensor& targets, double z_loss, const HeadSettings& settings) {
  const torch::Tensor logits = head_logits(features, embedding, bias, settings);
  const torch::Tensor logsum = at::logsumexp(logits, {1});
  const torch::Tensor mean = (logsum - logits.gather(1, targets.unsqueeze(1)).squeeze(1)).mean();
  return {mean + z_loss * logsum.square().mean(), mean.detach()};
}

torch::Tensor head_nats(const torch::Tensor& features, const torch::Tensor& embedding, const torch::Tensor& bias,
                        const torch::Tensor& targets, double temperature, const HeadSettings& settings) {
  const torch::NoGradGuard no_gradients;
  const std::int64_t rows = features.size(0), step = block_rows(embedding.size(0), rows);
  const torch::Tensor matrix = embedding.to(features.scalar_type());
  std::vector<torch::Tensor> nats;
  for (std::int64_t begin = 0; begin < rows; begin += step) {
    const std::int64_t count = std::min(step, rows - begin);
    torch::Tensor logits = softcapped(raw_logits(features.narrow(0, begin, count), matrix, bias), settings.softcap,
                                      settings.softcap_value);
    if (temperature != 1.0) logits = logits / temperature;
    nats.push_back(at::logsumexp(logits, {1}) -
                   logits.gather(1, targets.narrow(0, begin, count).unsqueeze(1)).squeeze(1));
  }
  return nats.empty() ? at::empty({0}, features.options().dtype(torch::kFloat32)) : at::cat(nats);
}

}  // namespace par5
