// Made-up evaluation data for tests.
#pragma once

#include <random>

#include "eval/eval_data.h"

namespace par5 {

// Documents of random length; ids 0 and 1 are boundaries, even ids start with a space, id v has v bytes.
inline EvalData random_data(std::int64_t targets, unsigned seed, std::int64_t vocab = 12) {
  EvalData data;
  for (std::int64_t v = 0; v < vocab; ++v) {
    data.token_bytes.bytes.push_back(static_cast<std::uint16_t>(v < 2 ? 0 : v));
    data.token_bytes.leading_space.push_back(v >= 2 && v % 2 == 0);
    data.token_bytes.boundary.push_back(v < 2);
  }
  std::mt19937 random(seed);
  data.tokens.push_back(data.bos);
  while (data.targets() < targets)
    data.tokens.push_back(
        random() % 9 == 0 ? data.bos : static_cast<std::uint16_t>(2 + random() % static_cast<unsigned>(vocab - 2)));
  data.available_targets = targets;
  return data;
}

}  // namespace par5
