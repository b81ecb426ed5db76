#include "engine/learner.h"

#include <algorithm>
#include <cmath>
#include <new>
#include <string>

#include "engine/engine_state.h"
#include "engine/float_state.h"
#include "engine/gradient.h"

namespace par5 {

bool learns_everything(const TensorSpec&) { return true; }
bool learns_calibration(const TensorSpec& spec) { return spec.calibration; }

struct EngineLearner::State {
  State(Engine made, const StoredModel& model, LearnerOptions chosen)
      : engine(std::move(made)),
        inner(*engine.state_),
        options(std::move(chosen)),
        parameters(model, options.learns),
        gradient(inner.forward, inner.weights, inner.kernels, inner.pool, parameters, options.z_loss) {
    for (const Parameter& parameter : parameters.all) {
      if (!parameter.learns) continue;
      stored.push_back(parameter.values);
      velocity.emplace_back(parameter.values.size(), 0.0f);
    }
  }

  // Calls work(parameter, its number among those that learn).
  template <class Work>
  void each_learning(const Work& work) {
    std::size_t number = 0;
    for (Parameter& parameter : parameters.all)
      if (parameter.learns) work(parameter, number++);
  }

  Engine engine;
  Engine::State& inner;
  LearnerOptions options;
  Parameters parameters;
  Gradient gradient;
  // Of what learns, in order, laid out as its values: as stored, and the running sum of gradients.
  std::vector<AlignedVector<float>> stored, velocity;
  Windows windows;
  double norm = 0;
};

namespace {

Status check_options(const LearnerOptions& options) {
  const auto in = [](double value, double low, double high) { return value >= low && value <= high; };
  if (!in(options.momentum, 0, 1) || !in(options.decay, 0, 1) || !in(options.clip, 0, 1e30) ||
      !in(options.z_loss, 0, 1e30))
    return usage_error("a learner's momentum and decay are 0 … 1, its clip and z-loss at least 0");
  return {};
}

// The square root of the sum of squares: row sums in binary32, their sum in order in binary64.
double norm_of(Parameters& parameters, const Kernels& kernels, ThreadPool& pool) {
  double total = 0;
  std::vector<float> sums;
  for (Parameter& parameter : parameters.all) {
    if (!parameter.learns) continue;
    sums.resize(parameter.rows);
    pool.run(parameter.rows, [&](std::size_t r, std::size_t) {
      const float* row = parameter.row(parameter.gradient, r);
      sums[r] = kernels.dot(row, row, parameter.width);
    });
    for (const float sum : sums) total += static_cast<double>(sum);
  }
  return std::sqrt(total);
}

std::vector<float> without_gaps(const Parameter& parameter, const AlignedVector<float>& values) {
  std::vector<float> out;
  if (!parameter.learns) return out;
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
  if (engine.arithmetic != Arithmetic::fp32)
    return usage_error(
        "learning is defined for the arithmetic fp32, not " + std::string(arithmetic_name(engine.arithmetic)),
        "arithmetic");
  P5_OK(check_options(options));
  if (!options.learns) options.learns = learns_calibration;
  engine.dense = std::any_of(model.tensors.begin(), model.tensors.end(), [&](const StoredTensor& tensor) {
    return !tensor.spec.calibration && options.learns(tensor.spec);
  });
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
  for (const Parameter& parameter : state_->parameters.all)
    if (parameter.learns) count += element_count(parameter.spec.shape);
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
    state.each_learning([](Parameter& parameter, std::size_t) {
      std::fill(parameter.gradient.begin(), parameter.gradient.end(), 0.0f);
    });
    for (std::size_t first = 0; first < inputs.size(); first += length) {
      state.windows.truncate(0, 0);
      Windows::State& inner = *state.windows.state_;
      nats += state.gradient.add_window(inner, inner.windows[0], inputs.subspan(first, length),
                                        targets.subspan(first, length), inputs.size());
    }
    state.norm = norm_of(state.parameters, state.inner.kernels, state.inner.pool);
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
  const auto factor = static_cast<float>(clipped), momentum = static_cast<float>(options.momentum),
             rate = static_cast<float>(learning_rate), decay = static_cast<float>(options.decay);
  state.each_learning([&](Parameter& parameter, std::size_t number) {
    AlignedVector<float> changes(parameter.values.size());
    state.inner.pool.run(parameter.rows, [&](std::size_t r, std::size_t) {
      const std::size_t n = parameter.width;
      float *values = parameter.row(parameter.values, r), *velocity = parameter.row(state.velocity[number], r),
            *change = parameter.row(changes, r);
      kernels.scale(parameter.row(parameter.gradient, r), factor, n, change);
      kernels.add_multiple(change, momentum, velocity, n, velocity);
      kernels.add_multiple(parameter.row(state.stored[number], r), -1.0f, values, n, change);
      kernels.add_multiple(values, -rate, velocity, n, values);
      kernels.add_multiple(values, decay, change, n, values);
    });
  });
  state.parameters.store(state.inner.weights, state.inner.pool);
  return nats;
}

void EngineLearner::reset() {
  State& state = *state_;
  state.each_learning([&](Parameter& parameter, std::size_t number) {
    parameter.values = state.stored[number];
    std::fill(state.velocity[number].begin(), state.velocity[number].end(), 0.0f);
  });
  state.parameters.store(state.inner.weights, state.inner.pool);
}

std::vector<float> EngineLearner::values(std::string_view tensor) const {
  for (const Parameter& parameter : state_->parameters.all)
    if (parameter.spec.name == tensor) return without_gaps(parameter, parameter.values);
  return {};
}

std::vector<float> EngineLearner::gradient(std::string_view tensor) const {
  for (const Parameter& parameter : state_->parameters.all)
    if (parameter.spec.name == tensor) return without_gaps(parameter, parameter.gradient);
  return {};
}

double EngineLearner::gradient_norm() const { return state_->norm; }

Digest EngineLearner::content_hash() const {
  Sha256 hash;
  for (const Parameter& parameter : state_->parameters.all)
    if (parameter.learns)
      for (std::size_t r = 0; r < parameter.rows; ++r)
        hash.update(std::as_bytes(std::span(parameter.row(r), parameter.width)));
  return hash.finish();
}

}  // namespace par5
