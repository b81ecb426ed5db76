// The pieces of a context-mixing model: adaptive counters, an adaptive map over two coordinates, a map that corrects a
// probability, and the logistic mixer. All arithmetic is binary32 in the order written.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
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

// Four floats that the compiler computes with at once: elementwise, so that the bits are those of scalar code.
typedef float Lanes4 __attribute__((vector_size(16)));

inline Lanes4 load4(const float* from) {
  Lanes4 lanes;
  std::memcpy(&lanes, from, sizeof lanes);
  return lanes;
}
inline void store4(float* to, Lanes4 lanes) { std::memcpy(to, &lanes, sizeof lanes); }

// A mixer's inputs, in registers.
struct MixerInputs {
  Lanes4 lanes[4];

  static MixerInputs of(const MixerVector& vector) {
    MixerInputs inputs;
    for (int i = 0; i < 4; ++i) inputs.lanes[i] = load4(vector.data() + 4 * i);
    return inputs;
  }
};

// The sum of products in a fixed tree: lanes i and i + 8, then + 4, + 2, + 1.
inline float dot(const MixerVector& weights, const MixerInputs& inputs) {
  Lanes4 product[4];
  for (int i = 0; i < 4; ++i) product[i] = load4(weights.data() + 4 * i) * inputs.lanes[i];
  const Lanes4 sum = (product[0] + product[2]) + (product[1] + product[3]);
  return (sum[0] + sum[2]) + (sum[1] + sum[3]);
}

inline void add_scaled(MixerVector& weights, const MixerInputs& inputs, float factor) {
  for (int i = 0; i < 4; ++i) store4(weights.data() + 4 * i, load4(weights.data() + 4 * i) + factor * inputs.lanes[i]);
}

// Four cells of a map around a point, each with its share, read and learnt together.
class CellSquare {
 public:
  CellSquare(Cell* corner, std::ptrdiff_t stride, const AxisPosition& x, const AxisPosition& y)
      : top_(reinterpret_cast<float*>(corner)), bottom_(reinterpret_cast<float*>(corner + stride)) {
    const float fx = x.fraction, fy = y.fraction, rest_x = 1.0f - fx, rest_y = 1.0f - fy;
    share_ = Lanes4{rest_x, fx, rest_x, fx} * Lanes4{rest_y, rest_y, fy, fy};
    const Lanes4 top = load4(top_), bottom = load4(bottom_);
    probability_ = Lanes4{top[0], top[2], bottom[0], bottom[2]};
    weight_ = Lanes4{top[1], top[3], bottom[1], bottom[3]};
  }
  float probability() const {
    const Lanes4 part = share_ * probability_;
    return ((part[0] + part[1]) + part[2]) + part[3];
  }
  // As Cell::update does for each.
  void update(float bit, float limit) {
    const Lanes4 sum = weight_ + share_, limits = {limit, limit, limit, limit};
    const Lanes4 weight = sum < limits ? sum : limits;
    const Lanes4 p = probability_ + share_ * (bit - probability_) / (weight + 0.7f);
    store4(top_, Lanes4{p[0], weight[0], p[1], weight[1]});
    store4(bottom_, Lanes4{p[2], weight[2], p[3], weight[3]});
  }

 private:
  static_assert(sizeof(Cell) == 2 * sizeof(float));
  float *top_, *bottom_;
  Lanes4 share_, probability_, weight_;
};

}  // namespace par5::coder
