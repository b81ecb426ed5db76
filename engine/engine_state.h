// Internal to engine/: the state behind Engine.
#pragma once

#include <algorithm>

#include "engine/engine.h"
#include "engine/forward.h"

namespace par5 {

struct Engine::State {
  State(NetworkWeights loaded, const Kernels& chosen, const EngineOptions& options, std::size_t threads)
      : weights(std::move(loaded)),
        kernels(chosen),
        arithmetic(options.arithmetic),
        pool(threads),
        forward(weights, kernels, arithmetic, pool) {}

  NetworkWeights weights;
  const Kernels& kernels;
  Arithmetic arithmetic;
  ThreadPool pool;
  Forward forward;
  AlignedVector<float> logits, exponentials;
  // What has been learnt of the output alone (docs/arithmetic.md, "Logits and probabilities"): none where empty.
  AlignedVector<float> output_bias;
  float output_sharpness = 1.0f;

  // A row of logits before its softmax: times 1 / temperature, then sharpness and bias. In `out`, which may be the row,
  // or the row itself where there is nothing to do. All zeros where what was learnt leads beyond finite numbers.
  const float* finish_row(const float* row, float inverse_temperature, float* out) const {
    const auto vocab = static_cast<std::size_t>(weights.model.vocab);
    if (inverse_temperature == 1.0f && output_bias.empty()) return row;
    kernels.scale(row, inverse_temperature, vocab, out);
    if (output_bias.empty()) return out;
    kernels.add_multiple(output_bias.data(), output_sharpness, out, vocab, out);
    if (!kernels.all_finite(out, vocab)) std::fill_n(out, vocab, 0.0f);
    return out;
  }
};

}  // namespace par5
