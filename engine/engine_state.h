// Internal to engine/: the state behind Engine.
#pragma once

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
};

}  // namespace par5
