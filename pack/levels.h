// The levels check: the grid that explains a tensor's weights, at which granularity, and how many weights lie on it.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/config.h"
#include "core/error.h"
#include "core/tensor.h"

namespace par5 {

struct LevelsFinding {
  Grid grid = Grid::ternary;
  Granularity granularity = Granularity::tensor;
  std::int64_t group = 0;    // weights of one scale: the found group, the row's length, or the tensor's weights
  std::int64_t on_grid = 0;  // weights that lie on the grid
};

struct TensorLevels {
  std::string name;
  DType dtype = DType::float32;
  Shape shape;
  std::int64_t weights = 0;
  std::int64_t not_finite = 0;
  bool constant = false;  // all weights are equal: on every grid, which says nothing
  std::optional<LevelsFinding> finding;

  double share() const {
    return finding && weights ? static_cast<double>(finding->on_grid) / static_cast<double>(weights) : 0.0;
  }
};

// The cheapest grid and granularity (bits per weight, 16-bit scales included) that explains all weights or, where only
// a part of at least 4,096 lies on a grid (an eighth or more, up to int4), as many as any other does. Groups are
// divisors of the row's length, 8 or more (32 or more for a part). "Explains" means beyond chance: the same search is
// made on the same weights, each shaken by up to three in a hundred and rounded again to the stored type, and what it
// finds there is taken off. Integer tensors have no finding. Memory: some megabytes beside the view, whatever its size.
Result<TensorLevels> find_levels(const TensorView& tensor, std::size_t threads = 1);

// Share of all weights that lie on a grid or on one inside it (binary in ternary in quinary …), over tensors of
// floating-point weights. One entry per grid, in the order of the grids.
struct GridShare {
  Grid grid = Grid::binary;
  std::int64_t weights = 0;
  double share = 0;
};
std::vector<GridShare> grid_shares(std::span<const TensorLevels> tensors);
// Weights of the tensors that count.
std::int64_t counted_weights(std::span<const TensorLevels> tensors);

inline constexpr Grid kAllGrids[] = {Grid::binary, Grid::ternary, Grid::quinary, Grid::septenary, Grid::int4,
                                     Grid::int5,   Grid::int6,    Grid::int7,    Grid::int8};

}  // namespace par5
