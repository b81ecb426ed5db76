// Internal to engine/: the gradient of the output's own bias and sharpness, as defined in docs/arithmetic.md
// ("Gradients").
#pragma once

#include "engine/engine_state.h"
#include "engine/forward.h"
#include "engine/parameters.h"

namespace par5 {

class OutputGradient {
 public:
  // `bias` has a value for each token, `sharpness` one, which is added to 1.
  OutputGradient(Engine& engine, Engine::State& state, double temperature, Parameter& bias, Parameter& sharpness);

  // Adds one window's part of the summed cross-entropy's gradient. The window must be new and have room. Returns its
  // summed cross-entropy in nats.
  Result<double> add_window(Windows& windows, std::span<const std::uint16_t> inputs,
                            std::span<const std::uint16_t> targets);
  // Makes the sum the mean over `positions`.
  void divide(std::size_t positions);
  // Lets the engine's probabilities have the values as they are now.
  void store();

 private:
  Engine& engine_;
  Engine::State& state_;
  float inverse_temperature_;
  Parameter &bias_, &sharpness_;
  Rows scaled_, probabilities_;
};

}  // namespace par5
