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
  HeadGradients gradients{torch::empty_like(features), {}, {}};
  const torch::Tensor of_targets = torch::empty({tokens});
  job.target_gradient = fused::floats(of_targets);
  const float *const rows = features.const_data_ptr<float>(), *const vectors = embedding.const_data_ptr<float>();
  const auto target = [&](std::size_t token) { return size(job.targets[token]) * width; };
  float* const to_rows = gradients.features.data_ptr<float>();
  fused::ThreadSums to_bias(for_bias ? vocab : 1);
  for (std::int64_t begin = 0; begin < tokens; begin += kTokens) {
    const std::int64_t count = std::min(kTokens, tokens - begin);
    const IntegerRowBuffer rounded(count, weight.inner());
    std::optional<IntegerOuterProduct> outer;
    if (for_embedding) outer.emplace(rounded.rows(), size(count), vocab);
    over_token_blocks(count, [&](std::size_t block, std::size_t first, std::size_t of_block) {
      const std::size_t begin_of_block = size(begin) + first;
      const torch::Tensor room = torch::empty({static_cast<std::int64_t>(of_block + 1), vocab});
      const IntegerRowBuffer codes(static_cast<std::int64_t>(step), {size(vocab), size(vocab)});
      kernels::LogitLoss mine = job;
      mine.scratch = fused::floats(room) + of_block * size(vocab);
      mine.bias_gradient = for_bias ? to_bias.mine() : nullptr;
      for (std::size_t done = 0; done < of_block; done += step) {
        const std::size_t part = std::min(step, of_block - done), token = begin_of_block + done;
        float* const logits = fused::floats(room) + done * size(vocab);
        weight.multiply(rows + token * width, part, rounded.rows().from(first + done), logits);
        mine.logits.data = logits;
        mine.targets = job.targets + token, mine.logsum = job.logsum + token;
        mine.target_logit = job.target_logit + token, mine.target_gradient = job.target_gradient + token;
        kernels::logit_loss(mine, 0, part);
        kernels::quantize_rows_dithered(logits, transpose.scales(), codes.rows(), 0, part, token);
        transpose.multiply(codes.rows(), part, to_rows + token * width);
        for (std::size_t i = token; i < token + part; ++i)
          add_multiple(to_rows + i * width, job.target_gradient[i], vectors + target(i), width);
      }
      if (outer) outer->add_dithered(fused::floats(room), block, begin_of_block);
    });
    if (!outer) continue;
    const torch::Tensor sum = outer->result();
    gradients.embedding = begin == 0 ? sum : gradients.embedding.add_(sum);
  }
  if (for_embedding) {
    float* const to_vectors = gradients.embedding.data_ptr<float>();
    for (std::size_t token = 0; token < size(tokens); ++token)
      add_multiple(to_vectors + target(token), job.target_gradient[token], rows + token * width, width);
  }
  if (for_bias) gradients.bias = to_bias.total();
  return gradients;
}

}  // namespace par5
