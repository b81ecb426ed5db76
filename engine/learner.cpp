#include "engine/learner.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <new>
#include <string>

#include "engine/engine_state.h"
#include "engine/float_state.h"
#include "engine/gradient.h"
#include "engine/output_gradient.h"

namespace par5 {

double learns_everything(const TensorSpec&) { return 1.0; }
double learns_calibration(const TensorSpec& spec) { return spec.calibration ? 1.0 : 0.0; }

bool is_layer_matrix(const TensorSpec& spec) {
  return spec.shape.size() == 2 && !spec.calibration &&
         (spec.name.starts_with("blocks.") || spec.name.starts_with("transformer.h."));
}

namespace {

// A tensor that learns: its values as stored and the running sum of gradients, laid out as its values.
struct Learning {
  Parameter* parameter = nullptr;
  double rate_factor = 1.0;
  AlignedVector<float> stored, velocity;
};

// The model's tensors and the way back through the network.
struct Tensors {
  Tensors(Engine::State& engine, const StoredModel& model, const LearnerOptions& options)
      : parameters(model, [&](const TensorSpec& spec) { return options.rate_factor(spec) > 0; }),
        gradient(engine.forward, engine.weights, engine.kernels, engine.pool, parameters, options.z_loss) {}
  Parameters parameters;
  Gradient gradient;
};

// What is learnt of the output alone.
struct Output {
  Output(Engine& engine, Engine::State& state, double temperature)
      : bias(make_vector("output.bias", state.weights.model.vocab)),
        sharpness(make_vector("output.sharpness", 1)),
        gradient(engine, state, temperature, bias, sharpness) {}
  static Parameter make_vector(const char* name, std::int64_t width) {
    Parameter parameter;
    parameter.spec.name = name;
    parameter.spec.shape = {width};
    parameter.rows = 1;
    parameter.width = static_cast<std::size_t>(width);
    parameter.stride = round_up(parameter.width, kBlock);
    parameter.learns = true;
    parameter.values.assign(parameter.stride, 0.0f);
    parameter.gradient.assign(parameter.stride, 0.0f);
    return parameter;
  }
  Parameter bias, sharpness;
  OutputGradient gradient;
};

}  // namespace

struct EngineLearner::State {
  State(Engine made, const StoredModel& model, LearnerOptions chosen)
      : engine(std::move(made)), inner(*engine.state_), options(std::move(chosen)) {
    const auto add = [this](Parameter& parameter, double rate_factor) {
      learning.push_back(
          {&parameter, rate_factor, parameter.values, AlignedVector<float>(parameter.values.size(), 0.0f)});
    };
    if (options.output) {
      output = std::make_unique<Output>(engine, inner, options.temperature);
      add(output->bias, 1.0);
      add(output->sharpness, 1.0);
      return;
    }
    tensors = std::make_unique<Tensors>(inner, model, options);
    for (Parameter& parameter : tensors->parameters.all)
      if (parameter.learns) add(parameter, options.rate_factor(parameter.spec));
  }

  // Sum of squares of a tensor's values or gradient: rows in binary32, their sum in order in binary64.
  double squares(const Parameter& parameter, const AlignedVector<float>& values) {
    std::vector<float> sums(parameter.rows);
    inner.pool.run(parameter.rows, [&](std::size_t r, std::size_t) {
      const float* row = values.data() + r * parameter.stride;
      sums[r] = inner.kernels.dot(row, row, parameter.width);
    });
    double total = 0;
    for (const float sum : sums) total += static_cast<double>(sum);
    return total;
  }

  // Lets the engine compute with the values as they are now.
  void store() {
    if (output)
      output->gradient.store();
    else
      tensors->parameters.store(inner.weights, inner.pool);
  }

  const Learning* find(std::string_view tensor) const {
    for (const Learning& one : learning)
      if (one.parameter->spec.name == tensor) return &one;
    return nullptr;
  }

  Engine engine;
  Engine::State& inner;
  LearnerOptions options;
  std::unique_ptr<Tensors> tensors;  // or
  std::unique_ptr<Output> output;
  std::vector<Learning> learning;  // in the model's order
  Windows windows;
  double norm = 0;
};

namespace {

Status check_options(const LearnerOptions& options) {
  const auto in = [](double value, double low, double high) { return value >= low && value <= high; };
  if (!in(options.momentum, 0, 1) || !in(options.decay, 0, 1) || !in(options.clip, 0, 1e30) ||
      !in(options.z_loss, 0, 1e30))
    return usage_error("a learner's momentum and decay are 0 … 1, its clip and z-loss at least 0");
  if (options.output && !in(options.temperature, 1e-30, 1e30)) return usage_error("a temperature is above 0");
  return {};
}

EngineOptions::Dense dense_weights(const StoredModel& model, const LearnerOptions& options) {
  auto dense = EngineOptions::Dense::none;
  if (options.output) return dense;
  for (const StoredTensor& tensor : model.tensors) {
    if (options.rate_factor(tensor.spec) <= 0) continue;
    if (is_layer_matrix(tensor.spec)) return EngineOptions::Dense::all;
    if (tensor.spec.shape.size() == 2 && !tensor.spec.calibration) dense = EngineOptions::Dense::embedding;
  }
  return dense;
}

std::vector<float> without_gaps(const Parameter& parameter, const AlignedVector<float>& values) {
  std::vector<float> out;
  for (std::size_t r = 0; r < parameter.rows; ++r) {
    const auto row = values.begin() + static_cast<std::ptrdiff_t>(r * parameter.stride);
    out.insert(out.end(), row, row + static_cast<std::ptrdiff_t>(parameter.width));
  }
  return out;
}

}  // namespace

EngineLearner::EngineLearner(std::unique_ptr<State> state) : state_(std::move(state)) {}
EngineLearner::EngineLearner(EngineLearner&&) noexcept = default;
EngineLearner& EngineLearner::operator=(EngineLearner&&) noexcept = default;
EngineLearner::~EngineLearner() = default;

Result<EngineLearner> EngineLearner::create(const StoredModel& model, EngineOptions engine, LearnerOptions options) {
  if (engine.arithmetic != Arithmetic::fp32 && !options.output)
    return usage_error(
        "learning is defined for the arithmetic fp32, not " + std::string(arithmetic_name(engine.arithmetic)),
        "arithmetic");
  P5_OK(check_options(options));
  if (!options.rate_factor) options.rate_factor = learns_calibration;
  engine.dense = dense_weights(model, options);
  const FloatState float_state;
  P5_TRY(Engine made, Engine::create(model, engine));
  try {
    return EngineLearner(std::make_unique<State>(std::move(made), model, std::move(options)));
  } catch (const std::bad_alloc&) {
    return resource_limit("there is not enough memory to learn: gradients and weights are held as float32");
  }
}

Engine& EngineLearner::engine() { return state_->engine; }

std::int64_t EngineLearner::learning_values() const {
  std::int64_t count = 0;
  for (const Learning& one : state_->learning) count += element_count(one.parameter->spec.shape);
  return count;
}

Result<double> EngineLearner::differentiate(std::span<const std::uint16_t> inputs,
                                            std::span<const std::uint16_t> targets, std::int64_t windows) {
  if (windows < 1 || inputs.empty() || inputs.size() != targets.size() ||
      inputs.size() % static_cast<std::size_t>(windows) != 0)
    return usage_error("a step needs windows of equal length, and a target for every input");
  State& state = *state_;
  for (const std::span<const std::uint16_t> ids : {inputs, targets})
    for (std::size_t i = 0; i < ids.size(); ++i)
      if (ids[i] >= state.engine.model().vocab)
        return bad_data("token " + std::to_string(i) + " to learn from has the id " + std::to_string(ids[i]) +
                            ", which the vocabulary of " + std::to_string(state.engine.model().vocab) + " lacks",
                        {}, i);
  const FloatState float_state;
  const std::size_t length = inputs.size() / static_cast<std::size_t>(windows);
  double nats = 0;
  try {
    if (state.windows.capacity() < static_cast<std::int64_t>(length)) {
      P5_TRY(state.windows, state.engine.make_windows(1, static_cast<std::int64_t>(length)));
    }
    for (Learning& one : state.learning)
      std::fill(one.parameter->gradient.begin(), one.parameter->gradient.end(), 0.0f);
    for (std::size_t first = 0; first < inputs.size(); first += length) {
      state.windows.truncate(0, 0);
      const auto window_inputs = inputs.subspan(first, length), window_targets = targets.subspan(first, length);
      if (state.output) {
        P5_TRY(const double window_nats,
               state.output->gradient.add_window(state.windows, window_inputs, window_targets));
        nats += window_nats;
      } else {
        Windows::State& inner = *state.windows.state_;
        nats +=
            state.tensors->gradient.add_window(inner, inner.windows[0], window_inputs, window_targets, inputs.size());
      }
    }
    if (state.output) state.output->gradient.divide(inputs.size());
    double squares = 0;
    for (const Learning& one : state.learning) squares += state.squares(*one.parameter, one.parameter->gradient);
    state.norm = std::sqrt(squares);
  } catch (const std::bad_alloc&) {
    return resource_limit("there is not enough memory to learn from windows of " + std::to_string(length) + " tokens");
  }
  if (!std::isfinite(nats) || !std::isfinite(state.norm)) return bad_data("the gradient is not made of finite numbers");
  return nats / static_cast<double>(inputs.size());
}

Result<double> EngineLearner::step(std::span<const std::uint16_t> inputs, std::span<const std::uint16_t> targets,
                                   std::int64_t windows, double learning_rate) {
  if (!(learning_rate >= 0 && learning_rate <= 1e30)) return usage_error("a learning rate is at least 0");
  P5_TRY(const double nats, differentiate(inputs, targets, windows));
  State& state = *state_;
  const FloatState float_state;
  const Kernels& kernels = state.inner.kernels;
  const LearnerOptions& options = state.options;
  const double clipped = options.clip > 0 ? std::min(1.0, options.clip / (state.norm + 1e-6)) : 1.0;
  const auto momentum = static_cast<float>(options.momentum), decay = static_cast<float>(options.decay);
  for (Learning& one : state.learning) {
    Parameter& parameter = *one.parameter;
    double scale = clipped;
    if (options.rule == StepRule::lars) {
      const double size = std::sqrt(state.squares(parameter, parameter.gradient));
      scale = size > 0 ? std::sqrt(state.squares(parameter, one.stored)) / size : 0.0;
    }
    const auto factor = static_cast<float>(scale), rate = static_cast<float>(learning_rate * one.rate_factor);
    AlignedVector<float> changes(parameter.values.size());
    state.inner.pool.run(parameter.rows, [&](std::size_t r, std::size_t) {
      const std::size_t n = parameter.width;
      float *values = parameter.row(parameter.values, r), *velocity = parameter.row(one.velocity, r),
            *change = parameter.row(changes, r);
      kernels.scale(parameter.row(parameter.gradient, r), factor, n, change);
      kernels.add_multiple(change, momentum, velocity, n, velocity);
      kernels.add_multiple(values, -rate, velocity, n, values);
      kernels.add_multiple(parameter.row(one.stored, r), -1.0f, values, n, change);
      kernels.add_multiple(values, decay, change, n, values);
    });
  }
  state.store();
  return nats;
}

void EngineLearner::reset() {
  for (Learning& one : state_->learning) {
    one.parameter->values = one.stored;
    std::fill(one.velocity.begin(), one.velocity.end(), 0.0f);
  }
  state_->store();
}

std::vector<float> EngineLearner::values(std::string_view tensor) const {
  const Learning* one = state_->find(tensor);
  return one ? without_gaps(*one->parameter, one->parameter->values) : std::vector<float>();
}

std::vector<float> EngineLearner::gradient(std::string_view tensor) const {
  const Learning* one = state_->find(tensor);
  return one ? without_gaps(*one->parameter, one->parameter->gradient) : std::vector<float>();
}

double EngineLearner::gradient_norm() const { return state_->norm; }

Digest EngineLearner::content_hash() const {
  Sha256 hash;
  for (const Learning& one : state_->learning)
    for (std::size_t r = 0; r < one.parameter->rows; ++r)
      hash.update(std::as_bytes(std::span(one.parameter->row(r), one.parameter->width)));
  return hash.finish();
}

std::vector<std::byte> EngineLearner::state() const {
  std::vector<std::byte> bytes;
  bytes.reserve(static_cast<std::size_t>(learning_values()) * 2 * sizeof(float));
  for (const Learning& one : state_->learning)
    for (const bool values : {true, false}) {
      const std::vector<float> plain = without_gaps(*one.parameter, values ? one.parameter->values : one.velocity);
      const auto part = std::as_bytes(std::span(plain));
      bytes.insert(bytes.end(), part.begin(), part.end());
    }
  return bytes;
}

Status EngineLearner::restore(std::span<const std::byte> state) {
  const auto expected = static_cast<std::size_t>(learning_values()) * 2 * sizeof(float);
  if (state.size() != expected)
    return bad_data("the learner's snapshot has " + std::to_string(state.size()) + " bytes where this model's has " +
                    std::to_string(expected));
  const FloatState float_state;
  for (Learning& one : state_->learning)
    for (AlignedVector<float>* values : {&one.parameter->values, &one.velocity})
      for (std::size_t r = 0; r < one.parameter->rows; ++r) {
        const std::size_t bytes = one.parameter->width * sizeof(float);
        std::memcpy(one.parameter->row(*values, r), state.data(), bytes);
        state = state.subspan(bytes);
      }
  state_->store();
  return {};
}

}  // namespace par5
