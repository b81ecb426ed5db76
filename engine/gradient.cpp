#include "engine/gradient.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "engine/elementary.h"

namespace par5 {
namespace {

constexpr std::size_t kRowsPerTask = 8;
constexpr std::size_t kHeadRows = 64;        // whose logits are held at a time
constexpr std::size_t kOutputsAtOnce = 256;  // of a matrix whose rows are multiplied while they are in the cache
constexpr std::size_t kRowsOfProduct = 48;   // of a gradient matrix to a task

std::size_t size(std::int64_t value) { return static_cast<std::size_t>(value); }

// Columns `from` … of rows 0 … rows - 1 as rows of `to` (from + count of them).
void transpose(const Rows& from, std::size_t rows, std::size_t columns, Rows& to, ThreadPool& pool) {
  to.resize(columns, rows);
  pool.run((columns + 15) / 16, [&](std::size_t task, std::size_t) {
    const std::size_t first = task * 16, end = std::min(first + 16, columns);
    for (std::size_t r = 0; r < rows; ++r)
      for (std::size_t c = first; c < end; ++c) to[c][r] = from[r][c];
  });
}

}  // namespace

Gradient::Gradient(Forward& forward, const NetworkWeights& weights, const Kernels& kernels, ThreadPool& pool,
                   Parameters& parameters, double z_loss)
    : forward_(forward),
      weights_(weights),
      model_(weights.model),
      kernels_(kernels),
      pool_(pool),
      parameters_(parameters),
      z_loss_(static_cast<float>(z_loss)) {
  const std::size_t widest = std::max({size(model_.width), size(model_.mlp_width) * 2, size(model_.embedding_width)});
  ones_.assign(widest, 1.0f);
  scratch_.resize(pool.threads());
  row_scratch_.resize(pool.threads());
  for (auto& scratch : row_scratch_) scratch.resize(2 * widest);
  tape_.layers.resize(weights.layers.size());
  d_skips_.resize(model_.backbone == Backbone::unet ? size(model_.layers / 2) : 0);
}

// Calls work(row, thread) for every position of the window.
template <class Work>
void Gradient::each_row(const Work& work) {
  pool_.run((length_ + kRowsPerTask - 1) / kRowsPerTask, [&](std::size_t task, std::size_t thread) {
    const std::size_t end = std::min(length_, (task + 1) * kRowsPerTask);
    for (std::size_t row = task * kRowsPerTask; row < end; ++row) work(row, thread);
  });
}

double Gradient::add_window(const Windows::State& state, WindowCache& window, std::span<const std::uint16_t> inputs,
                            std::span<const std::uint16_t> targets, std::size_t positions) {
  length_ = inputs.size();
  const std::size_t width = size(model_.width), query = width,
                    key_value = 2 * size(model_.kv_heads * model_.head_width());
  for (Rows* rows : {&tape_.embedded, &tape_.final, &x0_, &mixed_, &middle_, &normed_, &branch_, &d_, &d0_, &d_branch_,
                     &d_normed_, &queries_, &d_query_})
    rows->resize(length_, width);
  d_features_.resize(length_, size(model_.embedding_width));
  const std::size_t hidden = weights_.layers[0].mlp_in.outputs;
  hidden_.resize(length_, size(model_.mlp_width));
  d_hidden_.resize(length_, hidden);
  d_key_value_.resize(length_, query + key_value);
  keys_.resize(length_, key_value / 2);
  for (Tape::Layer& layer : tape_.layers) {
    for (Rows* rows : {&layer.input, &layer.query, &layer.mixed, &layer.attended, &layer.mlp, &layer.output})
      rows->resize(length_, width);
    layer.key_value.resize(length_, key_value);
    layer.hidden.resize(length_, hidden);
  }
  for (Rows& skip : d_skips_) skip.resize(length_, width);
  minus_sines_.resize(state.rope.sines.size());
  for (std::size_t i = 0; i < minus_sines_.size(); ++i) minus_sines_[i] = -state.rope.sines[i];

  const float share = 1.0f / static_cast<float>(positions);
  double nats = 0;
  forward_.record(&tape_);
  for (std::size_t first = 0; first < length_; first += kRowsAtOnce) {
    const std::size_t count = std::min(kRowsAtOnce, length_ - first);
    const Segment segment{&window, first, inputs.subspan(first, count), 0};
    if (!forward_.run(state, {&segment, 1})) nats = std::numeric_limits<double>::quiet_NaN();
    window.length += count;
    nats += head(targets.subspan(first, count), first, count, share);
  }
  forward_.record(nullptr);

  // The last norm and the projection after it.
  if (model_.factored_embedding()) {
    norm(tape_.final, nullptr, normed_);
    add_products(d_features_, normed_, {parameters_.embedding_out}, length_);
    through_product(d_features_, length_, {parameters_.embedding_out}, d_);
    through_norm(tape_.final, d_, nullptr, d_);
  } else {
    through_norm(tape_.final, d_features_, parameters_.final_norm, d_);
  }
  if (model_.backbone == Backbone::unet) {
    norm(tape_.embedded, nullptr, x0_);
    each_row([&](std::size_t row, std::size_t) { std::fill_n(d0_[row], width, 0.0f); });
  }
  for (std::size_t index = tape_.layers.size(); index-- > 0;) layer(state, index);
  embed(inputs);
  return nats;
}

// The head for positions first … first + count - 1, which the forward pass has just run: d_features_ and the gradients
// of the embedding and the vocabulary bias. Returns the summed cross-entropy.
double Gradient::head(std::span<const std::uint16_t> targets, std::size_t first, std::size_t count, float share) {
  const std::size_t vocab = size(model_.vocab);
  const float* bias = weights_.vocab_bias.empty() ? nullptr : weights_.vocab_bias.data();
  const auto cap = static_cast<float>(model_.softcap_value);
  double nats = 0;
  std::vector<double> row_nats(kHeadRows);
  for (std::size_t begin = 0; begin < count; begin += kHeadRows) {
    const std::size_t rows = std::min(kHeadRows, count - begin);
    const Rows& z = forward_.head(begin, rows);
    d_logits_.resize(rows, vocab);
    pool_.run(rows, [&](std::size_t row, std::size_t) {
      float* d = d_logits_[row];
      kernels_.finish_logits(z[row], bias, model_.softcap, cap, vocab, d);
      const std::size_t target = targets[begin + row];
      float largest = d[0];
      for (std::size_t i = 1; i < vocab; ++i)
        if (d[i] > largest) largest = d[i];
      const float of_target = d[target] - largest;
      const float inverse = kernels_.softmax(d, vocab, 1.0f);
      const auto log_sum = -static_cast<float>(exact::log64(static_cast<double>(inverse)));
      row_nats[row] = static_cast<double>(log_sum - of_target);
      const float weight = share * std::fma(z_loss_ + z_loss_, largest + log_sum, 1.0f);
      kernels_.scale(d, inverse * weight, vocab, d);
      d[target] = d[target] - share;
      kernels_.softcap_gradient(z[row], bias, model_.softcap, cap, vocab, d);
    });
    for (std::size_t row = 0; row < rows; ++row) nats += row_nats[row];

    Rows input;  // the head's input rows of the block
    input.resize(rows, size(model_.embedding_width));
    for (std::size_t row = 0; row < rows; ++row)
      std::copy_n(forward_.head_input()[begin + row], size(model_.embedding_width), input[row]);
    add_products(d_logits_, input, {parameters_.embedding}, rows);
    if (Parameter* vocab_bias = parameters_.vocab_bias; vocab_bias && vocab_bias->learns)
      for (std::size_t row = 0; row < rows; ++row)
        kernels_.add(vocab_bias->gradient.data(), d_logits_[row], vocab, vocab_bias->gradient.data());
    Rows d_input;
    d_input.resize(rows, size(model_.embedding_width));
    through_product(d_logits_, rows, {parameters_.embedding}, d_input);
    for (std::size_t row = 0; row < rows; ++row)
      std::copy_n(d_input[row], size(model_.embedding_width), d_features_[first + begin + row]);
  }
  return nats;
}

void Gradient::layer(const Windows::State& state, std::size_t index) {
  const std::size_t width = size(model_.width), encoder = d_skips_.size();
  const LayerWeights& weights = weights_.layers[index];
  LayerParameters& parameters = parameters_.layers[index];
  const Tape::Layer& tape = tape_.layers[index];
  const bool unet = model_.backbone == Backbone::unet;
  if (index < encoder)
    each_row([&](std::size_t row, std::size_t) { kernels_.add(d_[row], d_skips_[index][row], width, d_[row]); });
  // What the forward pass had between its products.
  each_row([&](std::size_t row, std::size_t) {
    if (unet) {
      kernels_.mix(tape.input[row], x0_[row], weights.mix_x.data(), weights.mix_x0.data(), width, mixed_[row]);
      kernels_.add_scaled(mixed_[row], weights.attention_scale.data(), tape.attended[row], width, middle_[row]);
    } else {
      std::copy_n(tape.input[row], width, mixed_[row]);
      kernels_.add(mixed_[row], tape.attended[row], width, middle_[row]);
    }
  });
  mlp(index);
  attention(state, index);
  if (!unet) return;
  add_columns(d_, tape.input, parameters.mix, 0);
  add_columns(d_, x0_, parameters.mix, 1);
  each_row([&](std::size_t row, std::size_t) {
    kernels_.add_scaled(d0_[row], weights.mix_x0.data(), d_[row], width, d0_[row]);
    kernels_.multiply(d_[row], weights.mix_x.data(), width, d_[row]);
  });
  if (index < encoder || index - encoder >= encoder) return;
  const std::size_t from = encoder - 1 - (index - encoder);
  add_columns(d_, tape_.layers[from].output, parameters_.skips, index - encoder);
  each_row([&](std::size_t row, std::size_t) {
    kernels_.multiply(d_[row], weights_.skips[index - encoder].data(), width, d_skips_[from][row]);
  });
}

// From the gradient of the layer's output in d_ to that of what the MLP's branch was added to.
void Gradient::mlp(std::size_t index) {
  const std::size_t width = size(model_.width), inner = size(model_.mlp_width);
  const LayerWeights& weights = weights_.layers[index];
  LayerParameters& parameters = parameters_.layers[index];
  const Tape::Layer& tape = tape_.layers[index];
  const bool unet = model_.backbone == Backbone::unet, normed_output = linear_norm(true);
  if (unet) add_columns(d_, tape.mlp, parameters.mlp_scale, 0);
  each_row([&](std::size_t row, std::size_t) {
    if (unet)
      kernels_.multiply(d_[row], weights.mlp_scale.data(), width, d_branch_[row]);
    else
      std::copy_n(d_[row], width, d_branch_[row]);
    kernels_.activate(model_.activation, tape.hidden[row], inner, hidden_[row]);
    if (normed_output) kernels_.rms_norm(hidden_[row], inner, hidden_[row]);
  });
  add_products(d_branch_, hidden_, {parameters.mlp_out}, length_);
  through_product(d_branch_, length_, {parameters.mlp_out}, hidden_);  // hidden_ is now its own gradient
  each_row([&](std::size_t row, std::size_t thread) {
    if (normed_output) {
      float* activated = row_scratch_[thread].data();
      kernels_.activate(model_.activation, tape.hidden[row], inner, activated);
      through_rms(activated, hidden_[row], inner, hidden_[row], activated + inner);
    }
    kernels_.activation_gradient(model_.activation, tape.hidden[row], hidden_[row], inner, d_hidden_[row]);
  });
  norm(middle_, parameters.mlp_norm, normed_);
  const bool normed_input = linear_norm(false);
  const Rows* input = &normed_;
  if (normed_input) {
    each_row([&](std::size_t row, std::size_t) { kernels_.rms_norm(normed_[row], width, branch_[row]); });
    input = &branch_;
  }
  add_products(d_hidden_, *input, {parameters.mlp_in}, length_);
  through_product(d_hidden_, length_, {parameters.mlp_in}, d_normed_);
  if (normed_input)
    each_row([&](std::size_t row, std::size_t thread) {
      through_rms(normed_[row], d_normed_[row], width, d_normed_[row], row_scratch_[thread].data());
    });
  through_norm(middle_, d_normed_, parameters.mlp_norm, d_normed_);
  each_row([&](std::size_t row, std::size_t) { kernels_.add(d_[row], d_normed_[row], width, d_[row]); });
}

// The same for the attention's branch.
void Gradient::attention(const Windows::State& state, std::size_t index) {
  const std::size_t width = size(model_.width);
  const LayerWeights& weights = weights_.layers[index];
  LayerParameters& parameters = parameters_.layers[index];
  const Tape::Layer& tape = tape_.layers[index];
  const bool unet = model_.backbone == Backbone::unet, normed_output = linear_norm(true);
  if (unet) add_columns(d_, tape.attended, parameters.attention_scale, 0);
  each_row([&](std::size_t row, std::size_t) {
    if (unet)
      kernels_.multiply(d_[row], weights.attention_scale.data(), width, d_branch_[row]);
    else
      std::copy_n(d_[row], width, d_branch_[row]);
    if (normed_output)
      kernels_.rms_norm(tape.mixed[row], width, branch_[row]);
    else
      std::copy_n(tape.mixed[row], width, branch_[row]);
  });
  add_products(d_branch_, branch_, {parameters.attention_out}, length_);
  through_product(d_branch_, length_, {parameters.attention_out}, d_normed_);
  if (normed_output)
    each_row([&](std::size_t row, std::size_t thread) {
      through_rms(tape.mixed[row], d_normed_[row], width, d_normed_[row], row_scratch_[thread].data());
    });
  // d_normed_ holds the gradient of the mixed values.
  const std::size_t head_width = state.head_width;
  each_row([&](std::size_t row, std::size_t) {
    std::copy_n(tape.query[row], width, queries_[row]);
    std::copy_n(tape.key_value[row], state.kv_heads * head_width, keys_[row]);
    if (!unet) return;
    const std::size_t angle = row * state.rope.half;
    const auto turn = [&](float* head) {
      kernels_.rms_norm(head, head_width, head);
      kernels_.rotate(head, state.rope.half, state.rope.cosines.data() + angle, state.rope.sines.data() + angle);
    };
    for (std::size_t head = 0; head < size(model_.heads); ++head) {
      float* query = queries_[row] + head * head_width;
      turn(query);
      kernels_.scale(query, weights.query_gain[head], head_width, query);
    }
    for (std::size_t head = 0; head < state.kv_heads; ++head) turn(keys_[row] + head * head_width);
  });
  attend(index);
  if (unet) rotate_back(state, index);
  each_row([&](std::size_t row, std::size_t) { std::copy_n(d_query_[row], width, d_key_value_[row]); });

  norm(mixed_, parameters.attention_norm, normed_);
  const bool normed_input = linear_norm(false);
  const Rows* input = &normed_;
  if (normed_input) {
    each_row([&](std::size_t row, std::size_t) { kernels_.rms_norm(normed_[row], width, branch_[row]); });
    input = &branch_;
  }
  add_products(d_key_value_, *input, parameters.attention_in, length_);
  through_product(d_key_value_, length_, parameters.attention_in, d_normed_);
  if (normed_input)
    each_row([&](std::size_t row, std::size_t thread) {
      through_rms(normed_[row], d_normed_[row], width, d_normed_[row], row_scratch_[thread].data());
    });
  through_norm(mixed_, d_normed_, parameters.attention_norm, d_normed_);
  each_row([&](std::size_t row, std::size_t) { kernels_.add(d_[row], d_normed_[row], width, d_[row]); });
}

// Queries and keys back through gain, rotation and norm.
void Gradient::rotate_back(const Windows::State& state, std::size_t index) {
  const LayerWeights& weights = weights_.layers[index];
  const Tape::Layer& tape = tape_.layers[index];
  const std::size_t head_width = state.head_width, heads = size(model_.heads);
  Parameter* gain = parameters_.layers[index].query_gain;
  // The gains' gradients: the queries before the gain once more.
  if (gain->learns) {
    Rows terms;
    terms.resize(length_, heads);
    each_row([&](std::size_t row, std::size_t thread) {
      const std::size_t angle = row * state.rope.half;
      for (std::size_t head = 0; head < heads; ++head) {
        float* query = row_scratch_[thread].data();
        kernels_.rms_norm(tape.query[row] + head * head_width, head_width, query);
        kernels_.rotate(query, state.rope.half, state.rope.cosines.data() + angle, state.rope.sines.data() + angle);
        terms[row][head] = kernels_.dot(d_query_[row] + head * head_width, query, head_width);
      }
    });
    for (std::size_t row = 0; row < length_; ++row)
      kernels_.add(gain->gradient.data(), terms[row], heads, gain->gradient.data());
  }
  each_row([&](std::size_t row, std::size_t thread) {
    const std::size_t angle = row * state.rope.half;
    const auto back = [&](float* d, const float* x) {
      kernels_.rotate(d, state.rope.half, state.rope.cosines.data() + angle, minus_sines_.data() + angle);
      through_rms(x, d, head_width, d, row_scratch_[thread].data());
    };
    for (std::size_t head = 0; head < heads; ++head) {
      float* d = d_query_[row] + head * head_width;
      kernels_.scale(d, weights.query_gain[head], head_width, d);
      back(d, tape.query[row] + head * head_width);
    }
    for (std::size_t head = 0; head < state.kv_heads; ++head)
      back(d_key_value_[row] + size(model_.width) + head * head_width, tape.key_value[row] + head * head_width);
  });
}

void Gradient::embed(std::span<const std::uint16_t> inputs) {
  const std::size_t width = size(model_.width), inner = size(model_.embedding_width);
  if (model_.backbone == Backbone::unet) {
    each_row([&](std::size_t row, std::size_t) { kernels_.add(d_[row], d0_[row], width, d_[row]); });
    through_norm(tape_.embedded, d_, nullptr, d_);
  }
  Parameter& embedding = *parameters_.embedding;
  const Rows* d = &d_;
  if (model_.factored_embedding()) {
    if (parameters_.embedding_in->learns) {
      each_row([&](std::size_t row, std::size_t) { std::copy_n(embedding.row(inputs[row]), inner, d_features_[row]); });
      add_products(d_, d_features_, {parameters_.embedding_in}, length_);
    }
    if (!embedding.learns) return;
    through_product(d_, length_, {parameters_.embedding_in}, d_features_);
    d = &d_features_;
  }
  const auto add_row = [&](Parameter& parameter, std::size_t to, std::size_t row) {
    if (!parameter.learns) return;
    float* gradient = parameter.row(parameter.gradient, to);
    kernels_.add(gradient, (*d)[row], inner, gradient);
  };
  for (std::size_t row = 0; row < length_; ++row) {
    add_row(embedding, inputs[row], row);
    if (parameters_.positions) add_row(*parameters_.positions, row, row);
  }
}

// ---- products ----

void Gradient::through_product(const Rows& d, std::size_t rows, const std::vector<Parameter*>& parts, Rows& out) {
  const std::size_t width = parts[0]->width;
  pool_.run((width + kBlock - 1) / kBlock, [&](std::size_t task, std::size_t) {
    const std::size_t first = task * kBlock, columns = round_up(std::min(kBlock, width - first), kPanel);
    std::size_t column = 0;
    for (const Parameter* part : parts)
      for (std::size_t begin = 0; begin < part->rows; begin += kOutputsAtOnce) {
        const std::size_t count = std::min(kOutputsAtOnce, part->rows - begin);
        kernels_.product(d[0] + column, d.stride, rows, part->row(begin) + first, part->stride, count, columns,
                         column == 0, out[0] + first, out.stride);
        column += count;
      }
  });
}

void Gradient::add_products(const Rows& d, const Rows& input, const std::vector<Parameter*>& parts, std::size_t rows) {
  if (std::none_of(parts.begin(), parts.end(), [](const Parameter* part) { return part->learns; })) return;
  std::size_t outputs = 0;
  for (const Parameter* part : parts) outputs += part->rows;
  transpose(d, rows, outputs, transposed_, pool_);
  std::size_t begin = 0;
  for (Parameter* part : parts) {
    pool_.run((part->rows + kRowsOfProduct - 1) / kRowsOfProduct, [&](std::size_t task, std::size_t) {
      const std::size_t first = task * kRowsOfProduct, count = std::min(kRowsOfProduct, part->rows - first);
      for (std::size_t column = 0; column < part->width; column += kBlock)
        kernels_.product(transposed_[begin + first], transposed_.stride, count, input[0] + column, input.stride, rows,
                         round_up(std::min(kBlock, part->width - column), kPanel), false,
                         part->row(part->gradient, first) + column, part->stride);
    });
    begin += part->rows;
  }
}

void Gradient::add_columns(const Rows& a, const Rows& b, Parameter* parameter, std::size_t index) {
  if (!parameter->learns) return;
  float* gradient = parameter->row(parameter->gradient, index);
  pool_.run((parameter->width + kBlock - 1) / kBlock, [&](std::size_t task, std::size_t) {
    const std::size_t first = task * kBlock, count = std::min(kBlock, parameter->width - first);
    for (std::size_t row = 0; row < length_; ++row)
      kernels_.add_scaled(gradient + first, a[row] + first, b[row] + first, count, gradient + first);
  });
}

// ---- norms ----

bool Gradient::linear_norm(bool output_projection) const {
  return model_.linear_norm == LinearNorm::all || (model_.linear_norm == LinearNorm::outputs && output_projection);
}

void Gradient::norm(const Rows& x, const Parameter* gain, Rows& out) {
  const std::size_t width = size(model_.width);
  each_row([&](std::size_t row, std::size_t) {
    (model_.norm == Norm::rms ? kernels_.rms_norm : kernels_.layer_norm)(x[row], width, out[row]);
    if (gain) kernels_.multiply(out[row], gain->row(0), width, out[row]);
  });
}

void Gradient::through_norm(const Rows& x, Rows& d, Parameter* gain, Rows& out) {
  const std::size_t width = size(model_.width);
  if (gain) {
    if (gain->learns) {
      Rows normed;
      normed.resize(length_, width);
      norm(x, nullptr, normed);
      add_columns(d, normed, gain, 0);
    }
    each_row([&](std::size_t row, std::size_t) { kernels_.multiply(d[row], gain->row(0), width, d[row]); });
  }
  each_row([&](std::size_t row, std::size_t thread) {
    float* scratch = row_scratch_[thread].data();
    if (model_.norm == Norm::rms)
      through_rms(x[row], d[row], width, out[row], scratch);
    else
      through_layer_norm(x[row], d[row], width, out[row], scratch);
  });
}

void Gradient::through_rms(const float* x, const float* d, std::size_t n, float* out, float* scratch) const {
  const auto count = static_cast<float>(n);
  const float factor = 1.0f / std::sqrt(kernels_.dot(x, x, n) / count + 0x1p-23f);
  kernels_.scale(x, factor, n, scratch);
  const float mean = kernels_.dot(d, scratch, n) / count;
  kernels_.add_multiple(d, -mean, scratch, n, out);
  kernels_.scale(out, factor, n, out);
}

void Gradient::through_layer_norm(const float* x, const float* d, std::size_t n, float* out, float* scratch) const {
  const auto count = static_cast<float>(n);
  const float center = kernels_.dot(x, ones_.data(), n) / count;
  kernels_.add_multiple(x, -center, ones_.data(), n, scratch);
  const float factor = 1.0f / std::sqrt(kernels_.dot(scratch, scratch, n) / count + 1e-5f);
  kernels_.scale(scratch, factor, n, scratch);
  const float mean = kernels_.dot(d, ones_.data(), n) / count, slope = kernels_.dot(d, scratch, n) / count;
  kernels_.add_multiple(d, -mean, ones_.data(), n, out);
  kernels_.add_multiple(out, -slope, scratch, n, out);
  kernels_.scale(out, factor, n, out);
}

}  // namespace par5
