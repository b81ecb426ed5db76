// The gradient of causal attention: one key/value head and the query heads that share it at a time.
#include <algorithm>
#include <cmath>

#include "engine/gradient.h"

namespace par5 {

// d_normed_ holds the gradient of the mixed values; gives d_query_ and the columns of keys and values in d_key_value_.
void Gradient::attend(std::size_t index) {
  pool_.run(static_cast<std::size_t>(model_.kv_heads),
            [&](std::size_t kv_head, std::size_t thread) { attend_head(index, kv_head, thread); });
}

namespace {

// Rows 0 … rows - 1 of `count` values, `from_stride` apart, as columns of `to`.
void turn(const float* from, std::size_t from_stride, std::size_t rows, std::size_t count, float* to,
          std::size_t to_stride) {
  for (std::size_t c = 0; c < count; c += 16)
    for (std::size_t r = 0; r < rows; ++r)
      for (std::size_t i = c; i < std::min(c + 16, count); ++i) to[i * to_stride + r] = from[r * from_stride + i];
}

}  // namespace

void Gradient::attend_head(std::size_t index, std::size_t kv_head, std::size_t thread) {
  constexpr std::size_t kKeys = kGradientBlock;
  const auto heads = static_cast<std::size_t>(model_.heads), kv_heads = static_cast<std::size_t>(model_.kv_heads);
  const auto head_width = static_cast<std::size_t>(model_.head_width());
  const std::size_t padded = round_up(head_width, kPanel), shared = heads / kv_heads;
  const std::size_t blocks = (length_ + kKeys - 1) / kKeys, stride = blocks * kKeys;
  const Tape::Layer& tape = tape_.layers[index];
  const float factor = 1.0f / std::sqrt(static_cast<float>(head_width));
  HeadScratch& s = scratch_[thread];
  s.key_panels.assign(stride * head_width, 0.0f);
  s.value_panels.assign(stride * head_width, 0.0f);
  s.key_rows.assign(stride * padded, 0.0f);
  s.d_keys.assign(stride * padded, 0.0f);
  s.d_values.assign(stride * padded, 0.0f);
  s.p.resize(kKeys * stride), s.d.resize(kKeys * stride), s.turned.resize(kKeys * stride);
  s.query_rows.assign(kKeys * padded, 0.0f), s.d_rows.assign(kKeys * padded, 0.0f), s.sums.resize(kKeys * padded);
  const std::size_t value_column = (kv_heads + kv_head) * head_width;
  for (std::size_t row = 0; row < length_; ++row) {
    const float *key = keys_[row] + kv_head * head_width, *value = tape.key_value[row] + value_column;
    std::copy_n(key, head_width, s.key_rows.data() + row * padded);
    const std::size_t at = row / kKeys * kKeys * head_width + row % kKeys;
    for (std::size_t i = 0; i < head_width; ++i) {
      s.key_panels[at + i * kKeys] = key[i];
      s.value_panels[at + i * kKeys] = value[i];
    }
  }
  for (std::size_t head = kv_head * shared; head < (kv_head + 1) * shared; ++head)
    for (std::size_t block = 0; block < blocks; ++block) {
      const std::size_t first = block * kKeys, count = std::min(kKeys, length_ - first), keys = first + count;
      const float *queries = queries_[first] + head * head_width, *d_mixed = d_normed_[first] + head * head_width;
      for (std::size_t panel = 0; panel <= block; ++panel) {
        const std::size_t at = panel * kKeys;
        kernels_.product(queries, queries_.stride, count, s.key_panels.data() + at * head_width, kKeys, head_width,
                         kKeys, true, s.p.data() + at, stride);
        kernels_.product(d_mixed, d_normed_.stride, count, s.value_panels.data() + at * head_width, kKeys, head_width,
                         kKeys, true, s.d.data() + at, stride);
      }
      for (std::size_t i = 0; i < count; ++i) {
        float *p = s.p.data() + i * stride, *d = s.d.data() + i * stride;
        const std::size_t seen = first + i + 1;
        const float normalizer = kernels_.softmax(p, seen, factor);
        kernels_.scale(p, normalizer, seen, p);
        const float mean =
            kernels_.dot(d_mixed + i * d_normed_.stride, tape.mixed[first + i] + head * head_width, head_width);
        kernels_.softmax_gradient(p, seen, mean, factor, d);
        std::fill(p + seen, p + first + kKeys, 0.0f);
        std::fill(d + seen, d + first + kKeys, 0.0f);
        std::copy_n(queries + i * queries_.stride, head_width, s.query_rows.data() + i * padded);
        std::copy_n(d_mixed + i * d_normed_.stride, head_width, s.d_rows.data() + i * padded);
      }
      kernels_.product(s.d.data(), stride, count, s.key_rows.data(), padded, keys, padded, true, s.sums.data(), padded);
      for (std::size_t i = 0; i < count; ++i)
        std::copy_n(s.sums.data() + i * padded, head_width, d_query_[first + i] + head * head_width);
      turn(s.d.data(), stride, count, keys, s.turned.data(), kKeys);
      kernels_.product(s.turned.data(), kKeys, keys, s.query_rows.data(), padded, count, padded, false, s.d_keys.data(),
                       padded);
      turn(s.p.data(), stride, count, keys, s.turned.data(), kKeys);
      kernels_.product(s.turned.data(), kKeys, keys, s.d_rows.data(), padded, count, padded, false, s.d_values.data(),
                       padded);
    }
  const auto width = static_cast<std::size_t>(model_.width);
  for (std::size_t row = 0; row < length_; ++row) {
    std::copy_n(s.d_keys.data() + row * padded, head_width, d_key_value_[row] + width + kv_head * head_width);
    std::copy_n(s.d_values.data() + row * padded, head_width, d_key_value_[row] + width + value_column);
  }
}

}  // namespace par5
