#include "engine/engine.h"

#include <algorithm>
#include <cmath>
#include <new>

#include "core/parallel.h"
#include "engine/engine_state.h"
#include "engine/float_state.h"

namespace par5 {
namespace {

// More threads than this is a mistake.
constexpr std::size_t kMostThreads = 1024;
// Rows of logits handed over at a time: about 16 MB of them, at most kRowsAtOnce.
std::size_t rows_per_call(std::int64_t vocab) {
  return std::clamp<std::size_t>((std::size_t{4} << 20) / static_cast<std::size_t>(vocab), 16, kRowsAtOnce);
}

}  // namespace

Windows::Windows() : state_(std::make_unique<State>()) {}
Windows::Windows(Windows&&) noexcept = default;
Windows& Windows::operator=(Windows&&) noexcept = default;
Windows::~Windows() = default;

std::int64_t Windows::count() const { return static_cast<std::int64_t>(state_->windows.size()); }
std::int64_t Windows::capacity() const { return static_cast<std::int64_t>(state_->capacity); }
std::int64_t Windows::length(std::int64_t window) const {
  return static_cast<std::int64_t>(state_->windows.at(static_cast<std::size_t>(window)).length);
}
void Windows::truncate(std::int64_t window, std::int64_t length) {
  std::size_t& current = state_->windows.at(static_cast<std::size_t>(window)).length;
  current = std::min(current, static_cast<std::size_t>(std::max<std::int64_t>(length, 0)));
}

std::vector<std::string> kernel_names() {
  std::vector<std::string> names;
  for (const Kernels* kernels : available_kernels()) names.emplace_back(kernels->name);
  return names;
}

Engine::Engine(std::unique_ptr<State> state) : state_(std::move(state)) {}
Engine::Engine(Engine&&) noexcept = default;
Engine& Engine::operator=(Engine&&) noexcept = default;
Engine::~Engine() = default;

namespace {

// The form of the quantised layers.
Result<Packing> layer_packing(const StoredModel& model, const EngineOptions& options, const Kernels& kernels) {
  switch (options.arithmetic) {
    case Arithmetic::fp32:
      return options.dense == EngineOptions::Dense::all ? Packing::single : kernels.packing;
    case Arithmetic::int8:
      if (options.dense != EngineOptions::Dense::none) break;
      return kernels.integer_packing;
    case Arithmetic::fp32_adds:
      if (options.dense != EngineOptions::Dense::none) break;
      if (max_code(model.quantizer.grid) > 2)
        return usage_error("the arithmetic fp32-adds is for grids of at most five levels, not " +
                               std::string(grid_name(model.quantizer.grid)),
                           "arithmetic");
      return kernels.adds_packing;
  }
  return usage_error("dense weights need the arithmetic fp32", "arithmetic");
}

}  // namespace

Result<Engine> Engine::create(const StoredModel& model, const EngineOptions& options) {
  const FloatState float_state;
  P5_TRY(const Kernels* kernels, find_kernels(options.kernel));
  const std::size_t threads = std::min(thread_count(options.threads), kMostThreads);
  try {
    P5_TRY(const Packing layers, layer_packing(model, options, *kernels));
    const Packing others = options.dense == EngineOptions::Dense::none ? kernels->packing : Packing::single;
    P5_TRY(NetworkWeights weights, load_weights(model, layers, others));
    return Engine(std::make_unique<State>(std::move(weights), *kernels, options, threads));
  } catch (const std::bad_alloc&) {
    return resource_limit("there is not enough memory for the model's weights");
  }
}

const ModelConfig& Engine::model() const { return state_->weights.model; }
Arithmetic Engine::arithmetic() const { return state_->arithmetic; }
std::string_view Engine::kernel() const { return state_->kernels.name; }
std::size_t Engine::threads() const { return state_->pool.threads(); }
std::uint64_t Engine::quantized_bytes() const { return state_->weights.quantized_bytes(); }
std::uint64_t Engine::weight_bytes() const { return state_->weights.bytes(); }

Result<Windows> Engine::make_windows(std::int64_t count, std::int64_t capacity) const {
  constexpr std::int64_t kLargest = std::int64_t{1} << 24;
  const ModelConfig& config = model();
  if (count < 1 || capacity < 1 || count > kLargest || capacity > kLargest)
    return usage_error("windows need a count and a capacity of 1 … 16,777,216, not " + std::to_string(count) + " and " +
                       std::to_string(capacity));
  if (config.backbone == Backbone::gpt2 && capacity > config.context)
    return usage_error("a window of " + std::to_string(capacity) + " tokens is beyond the model's " +
                       std::to_string(config.context) + " learned positions");
  const FloatState float_state;
  try {
    Windows windows;
    Windows::State& state = *windows.state_;
    state.capacity = static_cast<std::size_t>(capacity);
    state.padded_capacity = round_up(state.capacity, kKeyBlock);
    state.head_width = static_cast<std::size_t>(config.head_width());
    state.padded_head_width = round_up(state.head_width, kPanel);
    state.kv_heads = static_cast<std::size_t>(config.kv_heads);
    if (config.backbone == Backbone::unet) state.rope = make_rotary_table(config, state.capacity);
    state.windows.resize(static_cast<std::size_t>(count));
    for (WindowCache& window : state.windows) {
      window.layers.resize(static_cast<std::size_t>(config.layers));
      for (LayerCache& cache : window.layers) {
        cache.keys.assign(state.kv_heads * state.padded_capacity * state.head_width, 0.0f);
        cache.values.assign(state.kv_heads * state.padded_capacity * state.padded_head_width, 0.0f);
      }
    }
    return windows;
  } catch (const std::bad_alloc&) {
    return resource_limit("there is not enough memory for " + std::to_string(count) + " windows of " +
                          std::to_string(capacity) + " tokens");
  }
}

namespace {

Status check_input(const WindowInput& input, const Windows& windows, const ModelConfig& model,
                   std::vector<bool>& named) {
  if (input.window < 0 || input.window >= windows.count())
    return usage_error("there is no window " + std::to_string(input.window));
  if (named[static_cast<std::size_t>(input.window)])
    return usage_error("window " + std::to_string(input.window) + " is named twice in one call");
  named[static_cast<std::size_t>(input.window)] = true;
  if (static_cast<std::int64_t>(input.tokens.size()) > windows.capacity() - windows.length(input.window))
    return usage_error("window " + std::to_string(input.window) + " has no room for " +
                       std::to_string(input.tokens.size()) + " more tokens");
  for (std::size_t i = 0; i < input.tokens.size(); ++i)
    if (input.tokens[i] >= model.vocab)
      return bad_data("token " + std::to_string(i) + " has the id " + std::to_string(input.tokens[i]) +
                          ", which the vocabulary of " + std::to_string(model.vocab) + " lacks",
                      {}, i);
  return {};
}

// Cuts the inputs into passes of at most kRowsAtOnce tokens, in order.
std::vector<std::vector<Segment>> cut_passes(std::span<const WindowInput> inputs, std::vector<WindowCache>& windows) {
  std::vector<std::vector<Segment>> passes;
  std::size_t room = 0;
  for (const WindowInput& input : inputs) {
    WindowCache& window = windows[static_cast<std::size_t>(input.window)];
    const auto wanted = static_cast<std::size_t>(std::max<std::int64_t>(input.first_wanted, 0));
    for (std::size_t done = 0; done < input.tokens.size();) {
      if (room == 0) {
        passes.emplace_back();
        room = kRowsAtOnce;
      }
      const std::size_t count = std::min(room, input.tokens.size() - done);
      passes.back().push_back(
          {&window, window.length + done, input.tokens.subspan(done, count), wanted > done ? wanted - done : 0});
      done += count;
      room -= count;
    }
  }
  return passes;
}

}  // namespace

Status Engine::append(Windows& windows, std::span<const WindowInput> inputs, const Sink& sink) {
  const FloatState float_state;
  std::vector<bool> named(static_cast<std::size_t>(windows.count()));
  for (const WindowInput& input : inputs) P5_OK(check_input(input, windows, model(), named));
  Windows::State& state = *windows.state_;
  const std::size_t at_once = rows_per_call(model().vocab);
  const auto not_finite = [] { return bad_data("the model's results are not finite numbers"); };
  std::int64_t row = 0;
  try {
    for (const std::vector<Segment>& pass : cut_passes(inputs, state.windows)) {
      if (!state_->forward.run(state, pass)) return not_finite();
      const std::size_t wanted = state_->forward.wanted_rows();
      for (std::size_t first = 0; first < wanted; first += at_once) {
        const std::size_t count = std::min(at_once, wanted - first);
        if (!state_->forward.logits(first, count, state_->logits)) return not_finite();
        P5_OK(sink(row, static_cast<std::int64_t>(count), state_->logits));
        row += static_cast<std::int64_t>(count);
      }
    }
  } catch (const std::bad_alloc&) {
    return resource_limit("there is not enough memory to run the model");
  }
  for (const WindowInput& input : inputs)
    state.windows[static_cast<std::size_t>(input.window)].length += input.tokens.size();
  return {};
}

Status Engine::forget(Windows& windows, std::int64_t window, std::int64_t count) const {
  if (model().backbone == Backbone::gpt2)
    return usage_error(
        "a model with learned positions cannot forget the beginning of a window: its tokens cannot move");
  if (window < 0 || window >= windows.count() || count < 0 || count > windows.length(window))
    return usage_error("window " + std::to_string(window) + " has no " + std::to_string(count) + " tokens to forget");
  const FloatState float_state;
  const Windows::State& state = *windows.state_;
  WindowCache& cache = windows.state_->windows[static_cast<std::size_t>(window)];
  const auto forgotten = static_cast<std::size_t>(count);
  if (forgotten == 0) return {};
  cache.length -= forgotten;
  if (cache.length == 0) return {};
  // forgotten < capacity here, so that its angles are in the table.
  const float* cosines = state.rope.cosines.data() + forgotten * state.rope.half;
  const float* sines = state.rope.sines.data() + forgotten * state.rope.half;
  for (std::size_t layer = 0; layer < cache.layers.size(); ++layer)
    for (std::size_t head = 0; head < state.kv_heads; ++head)
      for (std::size_t to = 0; to < cache.length; ++to) {
        const std::size_t from = to + forgotten;
        const float* old_key = state.key_panel(cache, layer, head, from / kKeyBlock) + from % kKeyBlock;
        float* key = state.key_panel(cache, layer, head, to / kKeyBlock) + to % kKeyBlock;
        for (std::size_t i = 0; i < state.rope.half; ++i) {
          const float a = old_key[i * kKeyBlock], b = old_key[(state.rope.half + i) * kKeyBlock];
          key[i * kKeyBlock] = std::fma(a, cosines[i], -(b * sines[i]));
          key[(state.rope.half + i) * kKeyBlock] = std::fma(b, cosines[i], a * sines[i]);
        }
        std::copy_n(state.value_row(cache, layer, head, from), state.padded_head_width,
                    state.value_row(cache, layer, head, to));
      }
  return {};
}

void Engine::log_probabilities(std::span<const float> logits, double temperature, std::span<float> out) {
  const FloatState float_state;
  const auto vocab = static_cast<std::size_t>(model().vocab);
  const float inverse = 1.0f / static_cast<float>(temperature);
  state_->pool.run(logits.size() / vocab, [&](std::size_t row, std::size_t) {
    float* values = out.data() + row * vocab;
    state_->kernels.log_softmax(state_->finish_row(logits.data() + row * vocab, inverse, values), vocab, values);
  });
}

void Engine::frequencies(std::span<const float> logits, double temperature, int bits, std::span<std::uint64_t> out,
                         std::span<std::uint64_t> totals) {
  const FloatState float_state;
  const auto vocab = static_cast<std::size_t>(model().vocab);
  const float inverse = 1.0f / static_cast<float>(temperature);
  const auto factor = static_cast<double>(std::uint64_t{1} << bits);
  state_->exponentials.resize(logits.size());
  state_->pool.run(logits.size() / vocab, [&](std::size_t row, std::size_t) {
    float* values = state_->exponentials.data() + row * vocab;
    state_->kernels.exponentials(state_->finish_row(logits.data() + row * vocab, inverse, values), vocab, values);
    totals[row] = state_->kernels.frequencies(values, vocab, factor, out.data() + row * vocab);
  });
}

void Engine::log_shares(std::span<const std::uint64_t> frequencies, std::span<const std::uint64_t> totals,
                        std::span<float> out) {
  const FloatState float_state;
  const auto vocab = static_cast<std::size_t>(model().vocab);
  state_->pool.run(totals.size(), [&](std::size_t row, std::size_t) {
    state_->kernels.log_shares(frequencies.data() + row * vocab, totals[row], vocab, out.data() + row * vocab);
  });
}

}  // namespace par5
