// The question behind `par5 levels`: is there a scale a for which these weights are a · (a whole number)? Nothing is
// assumed about how the weights were made.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "core/tensor.h"

namespace par5 {

// A weight w lies on a grid of scale a if |w / a - c| <= kGridTolerance for one of the grid's codes c. Where the stored
// type is coarse, half a unit in the last place of w is allowed besides.
inline constexpr double kGridTolerance = 1e-3;

// Half a unit in the last place of a stored type: max(2^exponent(w), smallest) · factor.
struct StoredPrecision {
  float factor = 0x1p-24f;
  float smallest = 0x1p-126f;
  float half_unit(float value) const;
};
StoredPrecision stored_precision(DType dtype);

// The magnitudes of the weights that are finite and not zero, each with its half unit.
struct Magnitudes {
  std::vector<float> value;
  std::vector<float> half_unit;
  std::size_t size() const { return value.size(); }
};
void collect_magnitudes(std::span<const float> weights, StoredPrecision precision, Magnitudes& out);

// The scales that are still possible. A scale is known as well as the weights that it explains allow.
struct ScaleInterval {
  double low = 0;
  double high = 0;
};

struct GridFit {
  std::size_t hits = 0;  // magnitudes that lie on the grid
  ScaleInterval scale;
};

// The best scale for codes 1 … max_code that this search finds. It tries the scales that make the largest magnitude,
// and then the most frequent one, the code max_code, max_code - 1, … 1: exact where all weights lie on the grid, and
// where a part of them does (an eighth at least) that repeats a magnitude.
GridFit fit_grid(const Magnitudes& magnitudes, int max_code);

// The scale for which all magnitudes lie on the grid, if there is one (hits is their number then, and 0 if not).
GridFit fit_grid_wholly(const Magnitudes& magnitudes, int max_code);

// Magnitudes that lie on the grid for some scale in the interval.
std::size_t count_on_grid(const Magnitudes& magnitudes, int max_code, const ScaleInterval& scale);

}  // namespace par5
