// Settings of small evaluations for tests.
#pragma once

#include "eval/score.h"

namespace par5 {

inline EvalSettings settings(std::int64_t window, std::int64_t stride, std::int64_t batch_tokens = 64) {
  EvalSettings settings;
  settings.window = window;
  settings.stride = stride;
  settings.batch_tokens = batch_tokens;
  return settings;
}

}  // namespace par5
