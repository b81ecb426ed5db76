#include "model/integer_head.h"

#include <algorithm>
#include <limits>
#include <optional>

#include "model/fused_support.h"
#include "model/integer_linear.h"

namespace par5 {
namespace {

using fused::size;

// Tokens whose gradients of logits exist at once, in 8 bits.
constexpr std::int64_t kTokens = 16 * static_cast<std::int64_t>(kTokenBlock);

// Rows of logits that stay in a core's second-level cache until they are rounded.
std::size_t logit_rows(std::size_t vocab) {
  return std::clamp<std::size_t>((std::size_t{1} << 18) / vocab, 8, kTokenBlock);
}

// What the gradient of the logits is multiplied with before it is rounded: the embedding's scales, so that the product
// with its codes needs no others. A row of zeros has no scale, but a gradient.
torch::Tensor factors_of(const IntegerWeight::Transpose& embedding, std::int64_t vocab) {
  const torch::Tensor scales = torch::empty({vocab});
  std::copy_n(embedding.scales(), vocab, scales.data_ptr<float>());
  const torch::Tensor most = scales.max();
  return at::where(scales > 0, scales, at::where(most > 0, most, at::ones_like(most)));
}

// to += factor · row
void add_multiple(float* to, float factor, const float* row, std::size_t width) {
  for (std::size_t i = 0; i < width; ++i) to[i] += factor * row[i];
}

}  // namespace

HeadGradients integer_head(const torch::Tensor& features, const torch::Tensor& embedding, kernels::LogitLoss job,
                           bool for_embedding, bool for_bias) {
  const std::int64_t tokens = features.size(0), vocab = embedding.size(0);
  const std::size_t width = size(features.size(1)), step = logit_rows(size(vocab));
  const IntegerWeight weight(embedding, {std::numeric_limits<std::int64_t>::max()});
  const IntegerWeight::Transpose transpose(weight);
  const torch::Tensor factors = factors_of(transpose, vocab);
  HeadGradients gradients{torch::empty_like(features), {}, {}};
  const torch::Tensor of_targets = torch::empty({tokens});
  job.target_gradient = fused::floats(of_targets);
  const float *const rows = features.const_data_ptr<float>(), *const vectors = embedding.const_data_ptr<float>();
  const auto target = [&](std::size_t token) { return size(job.targets[token]) * width; };
  float* const to_rows = gradients.features.data_ptr<float>();
  fused::ThreadSums to_bias(for_bias ? vocab : 1);
  const kernels::InnerGroups across{size(vocab), size(vocab)};
  for (std::int64_t begin = 0; begin < tokens; begin += kTokens) {
    const std::int64_t count = std::min(kTokens, tokens - begin);
    const IntegerRowBuffer codes(count, across);
    std::optional<IntegerOuterProduct> outer;
    if (for_embedding) outer.emplace(codes.rows(), size(count), features.size(1));
    over_token_blocks(count, [&](std::size_t block, std::size_t first, std::size_t of_block) {
      const IntegerRowBuffer rounded(static_cast<std::int64_t>(step), weight.inner());
      const torch::Tensor logits = torch::empty({static_cast<std::int64_t>(step + 1), vocab});
      kernels::LogitLoss mine = job;
      mine.logits = fused::matrix(logits);
      mine.scratch = fused::floats(logits) + step * size(vocab);
      mine.bias_gradient = for_bias ? to_bias.mine() : nullptr;
      for (std::size_t done = 0; done < of_block; done += step) {
        const std::size_t part = std::min(step, of_block - done), place = first + done, token = size(begin) + place;
        weight.multiply(rows + token * width, part, rounded.rows(), fused::floats(logits));
        mine.targets = job.targets + token, mine.logsum = job.logsum + token;
        mine.target_logit = job.target_logit + token, mine.target_gradient = job.target_gradient + token;
        kernels::logit_loss(mine, 0, part);
        kernels::quantize_rows_dithered(fused::floats(logits), fused::floats(factors), codes.rows().from(place), 0,
                                        part, token);
      }
      const std::size_t begin_of_block = size(begin) + first;
      transpose.multiply(codes.rows().from(first), of_block, to_rows + begin_of_block * width);
      for (std::size_t token = begin_of_block; token < begin_of_block + of_block; ++token)
        add_multiple(to_rows + token * width, job.target_gradient[token], vectors + target(token), width);
      if (outer) outer->add(rows + begin_of_block * width, block);
    });
    if (!outer) continue;
    const torch::Tensor sum = outer->transposed_result();
    gradients.embedding = begin == 0 ? sum : gradients.embedding.add_(sum);
  }
  if (for_embedding) {
    gradients.embedding.div_(factors.unsqueeze(1));
    float* const to_vectors = gradients.embedding.data_ptr<float>();
    for (std::size_t token = 0; token < size(tokens); ++token)
      add_multiple(to_vectors + target(token), job.target_gradient[token], rows + token * width, width);
  }
  if (for_bias) gradients.bias = to_bias.total();
  return gradients;
}

}  // namespace par5
