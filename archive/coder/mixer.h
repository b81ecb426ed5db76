// The pieces of a context-mixing model: adaptive counters, an adaptive map over two coordinates, a map that corrects a
// probability, and the logistic mixer. All arithmetic is binary32 in the order written.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "archive/coder/tables.h"

namespace par5::coder {

// P(bit = 1) after n bits; the step 1 / (n + 1.7) shrinks until n reaches a limit.
struct Counter {
  float probability = 0.5f;
  std::uint32_t count = 0;

  void update(const Tables& tables, float bit, std::uint32_t limit) {
    probability = probability + (bit - probability) * tables.rate[count];
    if (count < limit) ++count;
  }
};

// An entry of an interpolated map: `weight` is the sum of the shares of the bits that fell on it.
struct Cell {
  float probability = 0.5f;
  float weight = 0.0f;

  void update(float bit, float share, float limit) {
    const float sum = weight + share;
    weight = sum < limit ? sum : limit;
    probability = probability + share * (bit - probability) / (weight + 0.7f);
  }
};

// Where a value lies between two entries of an axis of `size` entries.
struct AxisPosition {
  int index = 0;
  float fraction = 0.0f;

  static AxisPosition at(float position, int size) {
    const float inside = clamp(position, 0.0f, static_cast<float>(size) - 1.01f);
    const int index = static_cast<int>(inside);
    return {index, inside - static_cast<float>(index)};
  }
};

constexpr int kMixerLanes = 16;
using MixerVector = std::array<float, kMixerLanes>;

// The sum of products in a fixed tree: lanes i and i + 8, then + 4, + 2, + 1.
inline float dot(const MixerVector& a, const MixerVector& b) {
  MixerVector sum;
  for (int i = 0; i < 16; ++i) sum[i] = a[i] * b[i];
  for (int i = 0; i < 8; ++i) sum[i] = sum[i] + sum[i + 8];
  for (int i = 0; i < 4; ++i) sum[i] = sum[i] + sum[i + 4];
  return (sum[0] + sum[2]) + (sum[1] + sum[3]);
}

inline void add_scaled(MixerVector& weights, const MixerVector& inputs, float factor) {
  for (int i = 0; i < kMixerLanes; ++i) weights[i] = weights[i] + factor * inputs[i];
}

}  // namespace par5::coder
