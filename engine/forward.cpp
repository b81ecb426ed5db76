#include "engine/forward.h"

#include <algorithm>

#include "engine/kernels_decode.h"

namespace par5 {
namespace {

// Inputs decoded at a time: 64 outputs of them stay in the second-level cache beside many rows, in the first-level
// cache for few.
constexpr std::size_t kInputsAtOnce = 384, kInputsAtOnceFewRows = 96, kFewRows = 8;
constexpr std::size_t kRowsPerTask = 8;

std::size_t size(std::int64_t value) { return static_cast<std::size_t>(value); }

}  // namespace

Forward::Forward(const NetworkWeights& weights, const Kernels& kernels, Arithmetic arithmetic, ThreadPool& pool)
    : weights_(weights), model_(weights.model), kernels_(kernels), arithmetic_(arithmetic), pool_(pool) {
  panels_.resize(pool.threads());
  scores_.resize(pool.threads());
  sums_.resize(pool.threads());
  head_products_.resize(pool.threads());
  for (auto& panel : panels_) panel.resize(kInputsAtOnce * kBlock);
  skips_.resize(model_.backbone == Backbone::unet ? size(model_.layers / 2) : 0);
}

// Calls work(row) for every row of the pass.
template <class Work>
void Forward::each_row(const Work& work) {
  pool_.run((rows_ + kRowsPerTask - 1) / kRowsPerTask, [&](std::size_t task, std::size_t) {
    const std::size_t end = std::min(rows_, (task + 1) * kRowsPerTask);
    for (std::size_t row = task * kRowsPerTask; row < end; ++row) work(row);
  });
}

// Copies the rows of the pass to the tape, if there is one.
void Forward::keep(const Rows& from, std::size_t width, Rows& to) {
  each_row([&](std::size_t row) { std::copy_n(from[row], width, to[row_[row].position]); });
}
void Forward::keep(const Rows& from, std::size_t width, Rows Tape::Layer::*to, std::size_t layer) {
  if (tape_) keep(from, width, tape_->layers[layer].*to);
}

bool Forward::run(const Windows::State& state, std::span<const Segment> segments) {
  row_.clear();
  for (const Segment& segment : segments)
    for (std::size_t i = 0; i < segment.tokens.size(); ++i)
      row_.push_back({segment.window, segment.first_position + i, segment.tokens[i], i >= segment.first_wanted});
  rows_ = row_.size();
  const std::size_t width = size(model_.width);
  for (Rows* rows : {&x_, &x0_, &normed_, &branch_, &mixed_, &query_}) rows->resize(rows_, width);
  const std::size_t queries = kPositionsPerTask * size(model_.heads / model_.kv_heads);
  for (auto& scores : scores_) scores.resize(std::max(scores.size(), queries * state.padded_capacity));
  for (auto& sums : sums_) sums.resize(queries * state.padded_head_width);

  embed();
  const std::size_t layers = weights_.layers.size();
  const std::size_t encoder = skips_.size();
  for (std::size_t layer = 0; layer < layers && rows_ > 0; ++layer) {
    if (layer >= encoder && layer - encoder < encoder) {
      const Rows& skip = skips_[encoder - 1 - (layer - encoder)];
      const float* factors = weights_.skips[layer - encoder].data();
      each_row([&](std::size_t row) { kernels_.add_scaled(x_[row], factors, skip[row], width, x_[row]); });
    }
    run_layer(state, layer, layer + 1 == layers);
    if (layer < encoder) {
      skips_[layer].resize(rows_, width);
      each_row([&](std::size_t row) { std::copy_n(x_[row], width, skips_[layer][row]); });
      keep(x_, width, &Tape::Layer::output, layer);
    }
  }
  if (rows_ == 0) return true;
  if (tape_) keep(x_, width, tape_->final);
  each_row([&](std::size_t row) { normalize_row(x_[row], weights_.final_norm, normed_[row]); });
  bool finite = true;
  for (std::size_t row = 0; row < rows_; ++row) finite = finite && kernels_.all_finite(normed_[row], width);
  if (finite && model_.factored_embedding()) {
    multiply_floats(normed_[0], normed_.stride, rows_, weights_.embedding_out, features_);
    for (std::size_t row = 0; row < rows_; ++row)
      finite = finite && kernels_.all_finite(features_[row], size(model_.embedding_width));
  }
  return finite;
}

void Forward::embed() {
  const std::size_t width = size(model_.width), inner = size(model_.embedding_width);
  Rows& embedded = model_.factored_embedding() ? features_ : x_;
  embedded.resize(rows_, inner);
  each_row([&](std::size_t row) {
    float* out = embedded[row];
    for (std::size_t i = 0; i < inner; ++i) out[i] = weight_at(weights_.embedding, row_[row].token, i);
    if (model_.backbone == Backbone::unet) return;
    for (std::size_t i = 0; i < inner; ++i) out[i] = out[i] + weight_at(weights_.positions, row_[row].position, i);
  });
  if (model_.factored_embedding()) multiply_floats(features_[0], features_.stride, rows_, weights_.embedding_in, x_);
  if (tape_) keep(x_, width, tape_->embedded);
  if (model_.backbone == Backbone::gpt2) return;
  each_row([&](std::size_t row) {
    normalize_row(x_[row], {}, x_[row]);
    std::copy_n(x_[row], width, x0_[row]);
  });
}

void Forward::normalize_row(const float* from, const AlignedVector<float>& gain, float* to) {
  const std::size_t width = size(model_.width);
  (model_.norm == Norm::rms ? kernels_.rms_norm : kernels_.layer_norm)(from, width, to);
  if (!gain.empty()) kernels_.multiply(to, gain.data(), width, to);
}

template <class Before>
void Forward::prepare(Rows& input, const PackedMatrix& matrix, bool output_projection, const Before& before) {
  const bool normed =
      model_.linear_norm == LinearNorm::all || (model_.linear_norm == LinearNorm::outputs && output_projection);
  reserve(matrix);
  each_row([&](std::size_t row) {
    before(row);
    if (normed) kernels_.rms_norm(input[row], matrix.inputs, input[row]);
    convert(input, matrix, row);
  });
}

void Forward::reserve(const PackedMatrix& matrix) {
  if (arithmetic_ == Arithmetic::int8) {
    quantized_words_.resize(std::max(quantized_words_.size(), rows_ * activation_words(matrix, rows_)));
    quantized_starts_.resize(std::max(quantized_starts_.size(), rows_ * matrix.groups));
    quantized_steps_.resize(std::max(quantized_steps_.size(), rows_));
  }
  if (arithmetic_ == Arithmetic::fp32_adds) tables_.resize(std::max(tables_.size(), rows_ * table_floats(matrix)));
}

void Forward::convert(const Rows& input, const PackedMatrix& matrix, std::size_t row) {
  if (arithmetic_ == Arithmetic::int8)
    kernels_.quantize_row(input[row], matrix, rows_,
                          {quantized_words_.data() + row * activation_words(matrix, rows_),
                           quantized_starts_.data() + row * matrix.groups, quantized_steps_.data() + row});
  if (arithmetic_ == Arithmetic::fp32_adds)
    kernels_.adds_tables(input[row], matrix, tables_.data() + row * table_floats(matrix));
}

void Forward::multiply(const Rows& input, const PackedMatrix& matrix, Rows& out) {
  if (arithmetic_ == Arithmetic::fp32) return multiply_floats(input[0], input.stride, rows_, matrix, out);
  out.resize(rows_, matrix.outputs);
  const std::size_t most = pool_.threads() == 1 ? matrix.blocks() : kMostBlocks;
  each_part(matrix, rows_, most, [&](const Part& part, std::size_t) {
    float* to = out[part.row] + part.block * kBlock;
    if (arithmetic_ == Arithmetic::int8)
      kernels_.integer_product(
          matrix, part.block, part.blocks,
          {quantized_words_.data() + part.row * activation_words(matrix, rows_),
           quantized_starts_.data() + part.row * matrix.groups, quantized_steps_.data() + part.row, part.rows},
          to, out.stride);
    else
      kernels_.adds_product(matrix, part.block, part.blocks, tables_.data() + part.row * table_floats(matrix),
                            part.rows, to, out.stride);
  });
}

void Forward::multiply_floats(const float* input, std::size_t input_stride, std::size_t rows,
                              const PackedMatrix& matrix, Rows& out) {
  out.resize(rows, matrix.outputs);
  each_part(matrix, rows, kMostBlocks, [&](const Part& part, std::size_t thread) {
    multiply_part(input + part.row * input_stride, input_stride, matrix, part, out[part.row] + part.block * kBlock,
                  out.stride, thread);
  });
}

void Forward::multiply_part(const float* input, std::size_t input_stride, const PackedMatrix& matrix, const Part& part,
                            float* out, std::size_t out_stride, std::size_t thread) {
  if (part.rows == 1 && kernels_.row_product && lookup::reads(matrix.format))
    return kernels_.row_product(matrix, part.block, part.blocks, input, out);
  float* panel = panels_[thread].data();
  const std::size_t at_once = part.rows < kFewRows ? kInputsAtOnceFewRows : kInputsAtOnce;
  // The same inputs of all rows for one block after the other, while they are in the cache.
  for (std::size_t first = 0; first < matrix.inputs; first += at_once) {
    const std::size_t taken = std::min(at_once, matrix.inputs - first);
    for (std::size_t block = 0; block < part.blocks; ++block) {
      kernels_.decode(matrix, part.block + block, first, taken, panel);
      kernels_.product(input + first, input_stride, part.rows, panel, kBlock, taken, kBlock, first == 0,
                       out + block * kBlock, out_stride);
    }
  }
}

void Forward::run_layer(const Windows::State& state, std::size_t layer, bool last) {
  const LayerWeights& weights = weights_.layers[layer];
  const std::size_t width = size(model_.width), mlp = size(model_.mlp_width);
  const bool unet = model_.backbone == Backbone::unet;
  keep(x_, width, &Tape::Layer::input, layer);
  prepare(normed_, weights.query, false, [&](std::size_t row) {
    if (unet) kernels_.mix(x_[row], x0_[row], weights.mix_x.data(), weights.mix_x0.data(), width, x_[row]);
    normalize_row(x_[row], weights.attention_norm, normed_[row]);
  });
  multiply(normed_, weights.key_value, key_value_);
  keep(key_value_, weights.key_value.outputs, &Tape::Layer::key_value, layer);
  store_keys(state, layer);
  if (last) {
    // What follows serves only the wanted rows.
    keep_wanted();
    if (rows_ == 0) return;
    // normed_ already has the norm of linear_norm; only its other form is made again for the rows that stay.
    reserve(weights.query);
    each_row([&](std::size_t row) { convert(normed_, weights.query, row); });
  }
  multiply(normed_, weights.query, query_);
  keep(query_, width, &Tape::Layer::query, layer);
  prepare_queries(state, layer);
  attend(state, layer);
  keep(mixed_, width, &Tape::Layer::mixed, layer);
  prepare(mixed_, weights.attention_out, true, [](std::size_t) {});
  multiply(mixed_, weights.attention_out, branch_);
  keep(branch_, width, &Tape::Layer::attended, layer);
  const auto add_branch = [&](std::size_t row, const AlignedVector<float>& factors) {
    if (unet)
      kernels_.add_scaled(x_[row], factors.data(), branch_[row], width, x_[row]);
    else
      kernels_.add(x_[row], branch_[row], width, x_[row]);
  };
  prepare(normed_, weights.mlp_in, false, [&](std::size_t row) {
    add_branch(row, weights.attention_scale);
    normalize_row(x_[row], weights.mlp_norm, normed_[row]);
  });
  multiply(normed_, weights.mlp_in, hidden_);
  keep(hidden_, weights.mlp_in.outputs, &Tape::Layer::hidden, layer);
  prepare(hidden_, weights.mlp_out, true,
          [&](std::size_t row) { kernels_.activate(model_.activation, hidden_[row], mlp, hidden_[row]); });
  multiply(hidden_, weights.mlp_out, branch_);
  keep(branch_, width, &Tape::Layer::mlp, layer);
  each_row([&](std::size_t row) { add_branch(row, weights.mlp_scale); });
}

void Forward::store_keys(const Windows::State& state, std::size_t layer) {
  const std::size_t head_width = state.head_width, kv_heads = state.kv_heads;
  // A row's key is a column of its panel: a head's panel stays in the cache while the rows of a task write theirs.
  pool_.run((rows_ + kKeyBlock - 1) / kKeyBlock * kv_heads, [&](std::size_t task, std::size_t) {
    const std::size_t head = task % kv_heads, begin = task / kv_heads * kKeyBlock;
    for (std::size_t row = begin; row < std::min(rows_, begin + kKeyBlock); ++row) {
      WindowCache& window = *row_[row].window;
      const std::size_t position = row_[row].position;
      float* key = key_value_[row] + head * head_width;
      if (model_.backbone == Backbone::unet) {
        kernels_.rms_norm(key, head_width, key);
        const std::size_t angle = position * state.rope.half;
        kernels_.rotate(key, state.rope.half, state.rope.cosines.data() + angle, state.rope.sines.data() + angle);
      }
      float* panel = state.key_panel(window, layer, head, position / kKeyBlock) + position % kKeyBlock;
      for (std::size_t i = 0; i < head_width; ++i) panel[i * kKeyBlock] = key[i];
      std::copy_n(key_value_[row] + (kv_heads + head) * head_width, head_width,
                  state.value_row(window, layer, head, position));
    }
  });
}

void Forward::keep_wanted() {
  const std::size_t width = size(model_.width);
  std::size_t kept = 0;
  for (std::size_t row = 0; row < rows_; ++row) {
    if (!row_[row].wanted) continue;
    if (kept != row) {
      row_[kept] = row_[row];
      std::copy_n(x_[row], width, x_[kept]);
      std::copy_n(normed_[row], width, normed_[kept]);
    }
    ++kept;
  }
  rows_ = kept;
  row_.resize(kept);
}

void Forward::prepare_queries(const Windows::State& state, std::size_t layer) {
  if (model_.backbone == Backbone::gpt2) return;
  const std::size_t head_width = state.head_width;
  each_row([&](std::size_t row) {
    const std::size_t angle = row_[row].position * state.rope.half;
    for (std::size_t head = 0; head < size(model_.heads); ++head) {
      float* query = query_[row] + head * head_width;
      kernels_.rms_norm(query, head_width, query);
      kernels_.rotate(query, state.rope.half, state.rope.cosines.data() + angle, state.rope.sines.data() + angle);
      kernels_.scale(query, weights_.layers[layer].query_gain[head], head_width, query);
    }
  });
}

}  // namespace par5
