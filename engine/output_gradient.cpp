#include "engine/output_gradient.h"

#include "engine/elementary.h"

namespace par5 {

OutputGradient::OutputGradient(Engine& engine, Engine::State& state, double temperature, Parameter& bias,
                               Parameter& sharpness)
    : engine_(engine),
      state_(state),
      inverse_temperature_(1.0f / static_cast<float>(temperature)),
      bias_(bias),
      sharpness_(sharpness) {}

Result<double> OutputGradient::add_window(Windows& windows, std::span<const std::uint16_t> inputs,
                                          std::span<const std::uint16_t> targets) {
  const Kernels& kernels = state_.kernels;
  const auto vocab = static_cast<std::size_t>(state_.weights.model.vocab);
  const float sharpness = 1.0f + sharpness_.values[0];
  std::vector<float> slopes;
  std::vector<double> row_nats;
  double nats = 0;
  const auto add_rows = [&](std::int64_t first, std::int64_t count, std::span<const float> logits) -> Status {
    const auto rows = static_cast<std::size_t>(count);
    scaled_.resize(rows, vocab);
    probabilities_.resize(rows, vocab);
    slopes.resize(rows);
    row_nats.resize(rows);
    state_.pool.run(rows, [&](std::size_t row, std::size_t) {
      float *u = scaled_[row], *p = probabilities_[row];
      kernels.scale(logits.data() + row * vocab, inverse_temperature_, vocab, u);
      kernels.add_multiple(bias_.values.data(), sharpness, u, vocab, p);
      const std::size_t target = targets[static_cast<std::size_t>(first) + row];
      float largest = p[0];
      for (std::size_t v = 1; v < vocab; ++v)
        if (p[v] > largest) largest = p[v];
      const float of_target = p[target] - largest;
      const float inverse = kernels.softmax(p, vocab, 1.0f);
      const auto log_sum = -static_cast<float>(exact::log64(static_cast<double>(inverse)));
      row_nats[row] = static_cast<double>(log_sum - of_target);
      kernels.scale(p, inverse, vocab, p);
      slopes[row] = kernels.dot(p, u, vocab) - u[target];
    });
    for (std::size_t row = 0; row < rows; ++row) {
      float* gradient = bias_.gradient.data();
      kernels.add(gradient, probabilities_[row], vocab, gradient);
      float& of_target = gradient[targets[static_cast<std::size_t>(first) + row]];
      of_target = of_target - 1.0f;
      sharpness_.gradient[0] = sharpness_.gradient[0] + slopes[row];
      nats += row_nats[row];
    }
    return {};
  };
  const WindowInput input{0, inputs, 0};
  P5_OK(engine_.append(windows, {&input, 1}, add_rows));
  return nats;
}

void OutputGradient::divide(std::size_t positions) {
  const float share = 1.0f / static_cast<float>(positions);
  for (Parameter* parameter : {&bias_, &sharpness_})
    state_.kernels.scale(parameter->gradient.data(), share, parameter->width, parameter->gradient.data());
}

void OutputGradient::store() {
  state_.output_bias = bias_.values;
  state_.output_sharpness = 1.0f + sharpness_.values[0];
}

}  // namespace par5
