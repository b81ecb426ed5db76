// Causal attention of a pass over the keys and values in the windows, and the head.
#include <algorithm>
#include <atomic>
#include <cmath>

#include "engine/forward.h"

namespace par5 {

void Forward::attend(const Windows::State& state, std::size_t layer) {
  // Blocks of consecutive positions of one window.
  std::vector<std::pair<std::size_t, std::size_t>> blocks;
  for (std::size_t row = 0; row < rows_;) {
    std::size_t count = 1;
    while (count < kPositionsPerTask && row + count < rows_ && row_[row + count].window == row_[row].window) ++count;
    blocks.emplace_back(row, count);
    row += count;
  }
  pool_.run(blocks.size() * state.kv_heads, [&](std::size_t task, std::size_t thread) {
    const auto [row, count] = blocks[task / state.kv_heads];
    attend_block(state, layer, row, count, task % state.kv_heads, thread);
  });
}

void Forward::attend_block(const Windows::State& state, std::size_t layer, std::size_t first_row, std::size_t positions,
                           std::size_t kv_head, std::size_t thread) {
  WindowCache& window = *row_[first_row].window;
  const std::size_t shared = static_cast<std::size_t>(model_.heads / model_.kv_heads);  // query heads of this kv head
  const std::size_t head_width = state.head_width, sum_width = state.padded_head_width;
  const std::size_t first_position = row_[first_row].position, keys = first_position + positions;
  const std::size_t stride = round_up(keys, kKeyBlock);
  float* scores = scores_[thread].data();  // [query head][position][keys]
  float* sums = sums_[thread].data();      // [query head][position][sum_width]

  for (std::size_t panel = 0; panel * kKeyBlock < keys; ++panel)
    for (std::size_t head = 0; head < shared; ++head)
      kernels_.product(query_[first_row] + (kv_head * shared + head) * head_width, query_.stride, positions,
                       state.key_panel(window, layer, kv_head, panel), kKeyBlock, head_width, kKeyBlock, true,
                       scores + head * positions * stride + panel * kKeyBlock, stride);

  const float factor = 1.0f / std::sqrt(static_cast<float>(head_width));
  // All queries see the keys up to the first query's; each sees the rest up to its own.
  float normalizers[kPositionsPerTask];
  const std::size_t common = first_position + 1;
  const float* values = state.value_row(window, layer, kv_head, 0);
  const float* later_values = values + common * sum_width;
  for (std::size_t head = 0; head < shared; ++head) {
    float* head_scores = scores + head * positions * stride;
    float* head_sums = sums + head * positions * sum_width;
    for (std::size_t i = 0; i < positions; ++i)
      normalizers[i] = kernels_.softmax(head_scores + i * stride, common + i, factor);
    kernels_.product(head_scores, stride, positions, values, sum_width, common, sum_width, true, head_sums, sum_width);
    for (std::size_t i = 1; i < positions; ++i)
      kernels_.product(head_scores + i * stride + common, stride, 1, later_values, sum_width, i, sum_width, false,
                       head_sums + i * sum_width, sum_width);
    for (std::size_t i = 0; i < positions; ++i)
      kernels_.scale(head_sums + i * sum_width, normalizers[i], head_width,
                     mixed_[first_row + i] + (kv_head * shared + head) * head_width);
  }
}

const Rows& Forward::head(std::size_t first, std::size_t count) {
  products_.multiply_floats(head_input()[first], head_input().stride, weights_.embedding, count, head_);
  return head_;
}

bool Forward::logits(std::size_t first, std::size_t count, AlignedVector<float>& out) {
  const auto vocab = static_cast<std::size_t>(model_.vocab);
  out.resize(count * vocab);
  const float* bias = weights_.vocab_bias.empty() ? nullptr : weights_.vocab_bias.data();
  const auto cap = static_cast<float>(model_.softcap_value);
  std::atomic<bool> finite = true;
  // Each task's products are finished while they are in the cache.
  for (auto& products : head_products_)
    products.resize(std::max(products.size(), count * Products::kMostBlocks * kBlock));
  products_.each_part(
      weights_.embedding, count, Products::kMostBlocks, [&](const Products::Part& part, std::size_t thread) {
        float* products = head_products_[thread].data();
        const std::size_t stride = part.blocks * kBlock;
        products_.multiply_part(head_input()[first + part.row], head_input().stride, weights_.embedding, part, products,
                                stride, thread);
        const std::size_t begin = part.block * kBlock, tokens = std::min(stride, vocab - begin);
        for (std::size_t row = 0; row < part.rows; ++row)
          if (!kernels_.finish_logits(products + row * stride, bias ? bias + begin : nullptr, model_.softcap, cap,
                                      tokens, out.data() + (part.row + row) * vocab + begin))
            finite = false;
      });
  return finite;
}

}  // namespace par5
