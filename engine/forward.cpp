#include "engine/forward.h"

#include <algorithm>

namespace par5 {
namespace {

constexpr std::size_t kRowsPerTask = 8;

std::size_t size(std::int64_t value) { return static_cast<std::size_t>(value); }

}  // namespace

Forward::Forward(const NetworkWeights& weights, const Kernels& kernels, Arithmetic arithmetic, ThreadPool& pool)
    : weights_(weights), model_(weights.model), kernels_(kernels), pool_(pool), products_(kernels, arithmetic, pool) {
  scores_.resize(pool.threads());
  sums_.resize(pool.threads());
  head_products_.resize(pool.threads());
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
    products_.multiply_floats(normed_[0], normed_.stride, weights_.embedding_out, rows_, features_);
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
  if (model_.factored_embedding())
    products_.multiply_floats(features_[0], features_.stride, weights_.embedding_in, rows_, x_);
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
  products_.reserve(matrix, rows_);
  each_row([&](std::size_t row) {
    before(row);
    if (normed) kernels_.rms_norm(input[row], matrix.inputs, input[row]);
    products_.convert(input[row], matrix, row, rows_);
  });
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
    products_.reserve(weights.query, rows_);
    each_row([&](std::size_t row) { products_.convert(normed_[row], weights.query, row, rows_); });
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
