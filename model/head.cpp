#include "model/head.h"

#include <algorithm>
#include <optional>
#include <vector>

#include "model/fused.h"
#include "model/fused_support.h"
#include "model/integer_head.h"
#include "model/integer_linear.h"

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

// A block of rows' loss and, where it is wanted, the mean loss's gradient with respect to the block's raw logits, in
// the type of the matrix products.
struct BlockLoss {
  torch::Tensor logsum;         // [rows], at least float32
  torch::Tensor target_logits;  // [rows]
  torch::Tensor gradient;       // [rows, vocab]
  torch::Tensor bias_gradient;  // [vocab]
};

struct BlockJob {
  torch::Tensor bias, targets;
  double z_loss = 0.0;
  double temperature = 1.0;
  double factor = 1.0;  // of the gradient: 1 / rows of the whole batch
  bool with_gradient = false;
  HeadSettings settings;
};

BlockLoss eager_block(const torch::Tensor& features, const torch::Tensor& matrix, const BlockJob& job) {
  const torch::Tensor raw = raw_logits(features, matrix, job.bias);
  torch::Tensor logits = softcapped(raw, job.settings.softcap, job.settings.softcap_value) / job.temperature;
  if (job.settings.offsets.defined()) logits = logits + job.settings.offsets;
  const torch::Tensor logsum = at::logsumexp(logits, {1}, true), column = job.targets.unsqueeze(1);
  BlockLoss block{logsum.squeeze(1), logits.gather(1, column).squeeze(1), {}, {}};
  if (!job.with_gradient) return block;
  torch::Tensor gradient = (logits - logsum).exp() * (1 + 2 * job.z_loss * logsum);
  gradient.scatter_add_(1, column, at::full_like(column, -1, gradient.options()));
  if (job.settings.softcap != Softcap::none)
    gradient = gradient * softcap_slope(raw, job.settings.softcap, job.settings.softcap_value);
  gradient = gradient * job.factor;
  if (job.bias.defined()) block.bias_gradient = gradient.sum(0);
  block.gradient = gradient.to(features.scalar_type());
  return block;
}

// All of the kernel's job but the logits' memory. `bias` and `targets` of `job` are contiguous.
kernels::LogitLoss logit_loss_of(const BlockJob& job, std::int64_t vocab, const BlockLoss& block) {
  kernels::LogitLoss kernel;
  kernel.vocab = static_cast<std::size_t>(vocab);
  kernel.bias = fused::floats(job.bias);
  if (job.settings.offsets.defined()) {
    kernel.offsets = fused::floats(job.settings.offsets);
    kernel.largest_offset = job.settings.offsets.max().item<float>();
  }
  kernel.targets = job.targets.const_data_ptr<std::int64_t>();
  kernel.softcap = job.settings.softcap;
  kernel.softcap_value = static_cast<float>(job.settings.softcap_value);
  kernel.temperature = static_cast<float>(job.temperature);
  kernel.gradient = job.with_gradient;
  kernel.z_loss = static_cast<float>(job.z_loss);
  kernel.factor = static_cast<float>(job.factor);
  kernel.logsum = fused::floats(block.logsum);
  kernel.target_logit = fused::floats(block.target_logits);
  return kernel;
}

BlockLoss fused_block(const torch::Tensor& features, const torch::Tensor& matrix, BlockJob job) {
  FrozenWeights* const frozen = job.settings.frozen;
  const torch::Tensor logits = frozen ? frozen->product(features, matrix) : at::mm(features, matrix.t()).contiguous();
  job.targets = job.targets.contiguous();
  if (job.bias.defined()) job.bias = job.bias.contiguous();
  const std::int64_t vocab = logits.size(1);
  BlockLoss block{torch::empty({logits.size(0)}), torch::empty({logits.size(0)}), {}, {}};
  kernels::LogitLoss kernel = logit_loss_of(job, vocab, block);
  kernel.logits = fused::matrix(logits);
  const bool for_bias = job.with_gradient && job.bias.defined();
  fused::ThreadSums to_bias(for_bias ? vocab : 1), scratch(vocab);
  fused::over_rows(logits.size(0), vocab, [&](std::size_t begin, std::size_t end) {
    kernels::LogitLoss mine = kernel;
    mine.bias_gradient = for_bias ? to_bias.mine() : nullptr;
    mine.scratch = scratch.mine();
    kernels::logit_loss(mine, begin, end);
  });
  if (job.with_gradient) block.gradient = logits;
  if (for_bias) block.bias_gradient = to_bias.total();
  return block;
}

BlockLoss block_loss(const torch::Tensor& features, const torch::Tensor& matrix, const BlockJob& job) {
  const bool fused_form = job.settings.kernels == Kernels::automatic && fused::supported(features);
  return fused_form ? fused_block(features, matrix, job) : eager_block(features, matrix, job);
}

// The kernels index with targets, so they are checked first.
void check_targets(const torch::Tensor& targets, std::int64_t rows, std::int64_t vocab) {
  TORCH_CHECK_VALUE(targets.scalar_type() == torch::kInt64 && targets.numel() == rows,
                    "the loss needs one int64 target for each of ", rows, " rows");
  if (rows == 0) return;
  const auto [lowest, highest] = at::aminmax(targets);
  TORCH_CHECK_VALUE(lowest.item<std::int64_t>() >= 0 && highest.item<std::int64_t>() < vocab,
                    "a target is outside the vocabulary of ", vocab, " tokens");
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
    torch::Tensor cross_entropy = at::zeros({}, features.options().dtype(torch::kFloat64)),
                  squared = at::zeros_like(cross_entropy);
    const auto count_losses = [&](const BlockLoss& block) {
      cross_entropy += (block.logsum - block.target_logits).sum(torch::kFloat64);
      squared += block.logsum.square().sum(torch::kFloat64);
    };
    HeadGradients gradients;
    BlockJob job{bias, {}, z_loss, 1.0, 1.0 / static_cast<double>(rows), with_gradient, settings};
    if (with_gradient && settings.integer_products && fits_integer_products(matrix)) {
      job.targets = targets.contiguous();
      if (bias.defined()) job.bias = bias.contiguous();
      const BlockLoss all{torch::empty({rows}), torch::empty({rows}), {}, {}};
      gradients = integer_head(features.contiguous(), matrix.contiguous(), logit_loss_of(job, matrix.size(0), all),
                               for_embedding, for_bias);
      count_losses(all);
    } else {
      if (for_features) gradients.features = at::empty_like(features);
      if (for_embedding) gradients.embedding = at::zeros_like(embedding);
      if (for_bias) gradients.bias = at::zeros_like(bias);
      for (std::int64_t begin = 0; begin < rows; begin += step) {
        const std::int64_t count = std::min(step, rows - begin);
        const torch::Tensor part = features.narrow(0, begin, count);
        job.targets = targets.narrow(0, begin, count);
        const BlockLoss block = block_loss(part, matrix, job);
        count_losses(block);
        if (for_bias) gradients.bias += block.bias_gradient;
        if (for_features) {
          torch::Tensor rows_gradient = gradients.features.narrow(0, begin, count);
          at::mm_out(rows_gradient, block.gradient, matrix);
        }
        if (for_embedding && gradients.embedding.scalar_type() == block.gradient.scalar_type())
          gradients.embedding.addmm_(block.gradient.t(), part);
        else if (for_embedding)
          gradients.embedding += at::mm(block.gradient.t(), part);
      }
    }
    context->save_for_backward({gradients.features, gradients.embedding, gradients.bias});
    const auto type = features.scalar_type() == torch::kFloat64 ? torch::kFloat64 : torch::kFloat32;
    const torch::Tensor mean = (cross_entropy / rows).to(type),
                        total = ((cross_entropy + z_loss * squared) / rows).to(type);
    context->mark_non_differentiable({mean});
    return {total, mean};
  }

  static tensor_list backward(AutogradContext* context, const tensor_list& gradients) {
    tensor_list saved = context->get_saved_variables();
    const torch::Tensor& factor = gradients[0];
    if (factor.is_cpu() && factor.item<double>() == 1) return {saved[0], saved[1], saved[2], {}, {}, {}, {}};
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
  check_targets(targets, features.size(0), embedding.size(0));
  const auto optional_bias = bias.defined() ? std::optional<torch::Tensor>(bias) : std::nullopt;
  const tensor_list outputs = BlockwiseLoss::apply(features, embedding, optional_bias, targets, z_loss, settings,
                                                   torch::GradMode::is_enabled());
  return {outputs[0], outputs[1], embedding.size(0)};
}

HeadLoss eager_head_loss(const torch::Tensor& features, const torch::Tensor& embedding, const torch::Tensor& bias,
                         const torch::Tensor& targets, double z_loss, const HeadSettings& settings) {
  torch::Tensor logits = head_logits(features, embedding, bias, settings);
  if (settings.offsets.defined()) logits = logits + settings.offsets;
  const torch::Tensor logsum = at::logsumexp(logits, {1});
  const torch::Tensor mean = (logsum - logits.gather(1, targets.unsqueeze(1)).squeeze(1)).mean();
  return {mean + z_loss * logsum.square().mean(), mean.detach(), embedding.size(0)};
}

torch::Tensor head_nats(const torch::Tensor& features, const torch::Tensor& embedding, const torch::Tensor& bias,
                        const torch::Tensor& targets, double temperature, const HeadSettings& settings) {
  const torch::NoGradGuard no_gradients;
  check_targets(targets, features.size(0), embedding.size(0));
  const std::int64_t rows = features.size(0), step = block_rows(embedding.size(0), rows);
  const torch::Tensor matrix = embedding.to(features.scalar_type());
  std::vector<torch::Tensor> nats;
  BlockJob job{bias, {}, 0.0, temperature, 1.0, false, settings};
  for (std::int64_t begin = 0; begin < rows; begin += step) {
    const std::int64_t count = std::min(step, rows - begin);
    job.targets = targets.narrow(0, begin, count);
    const BlockLoss block = block_loss(features.narrow(0, begin, count), matrix, job);
    nats.push_back(block.logsum - block.target_logits);
  }
  return nats.empty() ? at::empty({0}, features.options().dtype(torch::kFloat32)) : at::cat(nats);
}

}  // namespace par5
