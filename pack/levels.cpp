#include "pack/levels.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <cstring>

#include "core/half.h"
#include "core/parallel.h"
#include "core/tensor_pieces.h"
#include "pack/grid_fit.h"
#include "pack/quantizer.h"

namespace par5 {
namespace {

constexpr std::size_t kSampleWeights = 8192;  // weights that the search looks at
constexpr std::size_t kLongestPrefix = 8192;  // of a sampled row; longer groups are not looked for
constexpr std::size_t kSmallestGroup = 8;
constexpr std::size_t kSmallestTensor = 16;  // fewer weights tell nothing
constexpr std::size_t kBlockWeights = std::size_t{1} << 16;
constexpr double kWhole = 0.9985;  // a share that counts as "all of them"
constexpr double kSmallestExcess = 0.1;

struct Layout {
  std::size_t rows = 1;
  std::size_t columns = 0;
};
Layout layout_of(const Shape& shape) {
  const auto count = static_cast<std::size_t>(element_count(shape));
  if (shape.size() < 2) return {1, count};
  const auto rows = static_cast<std::size_t>(shape[0]);
  return {rows, rows ? count / rows : 0};
}

// The prefixes of some rows, all of one length.
struct Sample {
  std::vector<float> weights;
  std::size_t length = 0;
  std::size_t rows() const { return length ? weights.size() / length : 0; }
};

Result<Sample> take_sample(const TensorView& tensor, const Layout& layout) {
  Sample sample;
  sample.length = std::min(layout.columns, kLongestPrefix);
  const std::size_t rows = std::clamp<std::size_t>(kSampleWeights / sample.length, 1, layout.rows);
  sample.weights.resize(rows * sample.length);
  for (std::size_t i = 0; i < rows; ++i) {
    const std::size_t row = (2 * i + 1) * layout.rows / (2 * rows);
    P5_OK(
        read_floats(tensor, row * layout.columns, std::span(sample.weights).subspan(i * sample.length, sample.length)));
  }
  return sample;
}

// The coarsest stored type that holds all these values: float32 files often carry bfloat16 or fp8 ones.
DType actual_type(std::span<const float> weights, DType dtype) {
  if (dtype != DType::float32 && dtype != DType::float64) return dtype;
  const auto all = [&](float (*round)(float)) {
    return std::all_of(weights.begin(), weights.end(), [&](float weight) { return round(weight) == weight; });
  };
  if (all(round_to_e4m3)) return DType::float8_e4m3;
  if (all(round_to_bfloat16)) return DType::bfloat16;
  if (all(round_to_half)) return DType::float16;
  return dtype;
}

float round_to(DType dtype, float value) {
  switch (dtype) {
    case DType::float8_e4m3:
      return round_to_e4m3(value);
    case DType::bfloat16:
      return round_to_bfloat16(value);
    case DType::float16:
      return round_to_half(value);
    default:
      return value;
  }
}

// The same weights without their grid: each times its own factor in 0.97 … 1.03, rounded to the type again:
// far beyond the tolerance, and too little to change how the weights are spread.
Sample shaken(const Sample& sample, DType dtype, std::uint64_t seed) {
  Sample out = sample;
  std::uint64_t state = seed * 0x9e3779b97f4a7c15u;
  for (float& weight : out.weights) {
    std::uint64_t z = (state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    z ^= z >> 31;
    weight = round_to(dtype, weight * static_cast<float>(0.97 + 0.06 * (static_cast<double>(z >> 11) * 0x1p-53)));
  }
  return out;
}

struct Unit {
  std::size_t hits = 0;
  std::size_t weights = 0;  // that could hit: those that are not zero, or all for binary
};

// One way in which scales may lie: `unit` weights of a row share one, or (0) the whole tensor does.
class Search {
 public:
  Search(const Sample& sample, StoredPrecision precision, DType actual) : sample_(sample), precision_(precision) {
    const std::size_t replicas = std::max<std::size_t>(1, 4096 / std::max<std::size_t>(1, sample.weights.size()));
    for (std::size_t i = 0; i < replicas; ++i) shaken_.push_back(shaken(sample, actual, i + 1));
  }

  struct Score {
    double excess = 0;     // share of the weights that lie on the grid beyond chance; 0 where chance explains it
    double threshold = 0;  // share of a unit's weights that chance reaches
    ScaleInterval scale;   // of the whole tensor
  };

  Score score(Grid grid, std::size_t unit) {
    Score score;
    std::vector<Unit> chance;
    for (const Sample& sample : shaken_) {
      const auto units = fit_units(sample, grid, unit, nullptr);
      chance.insert(chance.end(), units.begin(), units.end());
    }
    if (unit != 0) {
      std::vector<double> shares;
      for (const Unit& one : chance)
        if (one.weights) shares.push_back(share(one));
      std::sort(shares.begin(), shares.end());
      if (!shares.empty()) score.threshold = shares[shares.size() * 99 / 100];
    }
    const auto found = fit_units(sample_, grid, unit, &score.scale);
    const double by_chance = total_share(chance, score.threshold), share = total_share(found, score.threshold);
    if (by_chance > 0.98) return score;
    const auto pieces = static_cast<double>(unit == 0 ? found.front().weights : found.size());
    const double noise = 4 * std::sqrt(by_chance * (1 - by_chance) / std::max(1.0, pieces));
    const double excess = (share - by_chance) / (1 - by_chance);
    if (share - by_chance >= kSmallestExcess + noise) score.excess = excess;
    return score;
  }

  // Whether (nearly) all weights lie in units that are on the grid to the last weight. `scale`: of the whole tensor.
  bool explains_all(Grid grid, std::size_t unit, ScaleInterval& scale) {
    return share_in_whole_units(sample_, grid, unit, scale, 1 - kWhole) >= kWhole;
  }

  // What lies on the grid would lie there anyhow: after a shake, or because half units cover nearly all of the line.
  bool chance_explains_all(Grid grid, std::size_t unit) {
    ScaleInterval scale;
    if (share_in_whole_units(shaken_.front(), grid, unit, scale, 1) > 0.5) return true;
    double covered = 0;
    std::size_t count = 0;
    for_each_unit(sample_, unit, [&](std::span<const float> weights) {
      collect_magnitudes(weights, precision_, magnitudes_);
      const GridFit fit = fit_grid_wholly(magnitudes_, max_code(grid));
      for (std::size_t i = 0; i < magnitudes_.size() && fit.hits; ++i, ++count)
        covered += std::min(1.0, 2 * (magnitudes_.half_unit[i] / fit.scale.low + kGridTolerance));
      return true;
    });
    return covered > 0.8 * static_cast<double>(count);
  }

  static double share(const Unit& unit) {
    return unit.weights ? static_cast<double>(unit.hits) / static_cast<double>(unit.weights) : 0.0;
  }
  static bool counts(const Unit& unit, double threshold) {
    return unit.hits == unit.weights || share(unit) > threshold;
  }

 private:
  static double total_share(const std::vector<Unit>& units, double threshold) {
    std::size_t hits = 0, weights = 0;
    for (const Unit& unit : units) {
      weights += unit.weights;
      if (counts(unit, threshold)) hits += unit.hits;
    }
    return weights ? static_cast<double>(hits) / static_cast<double>(weights) : 0.0;
  }

  // visit(weights of a unit) until it returns false.
  template <class Visit>
  static void for_each_unit(const Sample& sample, std::size_t unit, Visit&& visit) {
    if (unit == 0) {
      visit(std::span(sample.weights));
      return;
    }
    for (std::size_t row = 0; row < sample.rows(); ++row)
      for (std::size_t at = 0; at + unit <= sample.length; at += unit)
        if (!visit(std::span(sample.weights).subspan(row * sample.length + at, unit))) return;
  }

  // Stops, with 0, once more than `allowed` of all weights lie in other units. A unit of zeros is on every grid but
  // binary.
  double share_in_whole_units(const Sample& sample, Grid grid, std::size_t unit, ScaleInterval& scale, double allowed) {
    std::size_t explained = 0, other = 0;
    const double most_other = allowed * static_cast<double>(sample.weights.size());
    for_each_unit(sample, unit, [&](std::span<const float> weights) {
      collect_magnitudes(weights, precision_, magnitudes_);
      const bool zeros = grid == Grid::binary && magnitudes_.size() < weights.size();
      const GridFit fit = zeros ? GridFit{} : fit_grid_wholly(magnitudes_, max_code(grid));
      scale = fit.scale;
      (!zeros && fit.hits == magnitudes_.size() ? explained : other) += weights.size();
      return static_cast<double>(other) <= most_other;
    });
    if (static_cast<double>(other) > most_other) return 0;
    return explained + other ? static_cast<double>(explained) / static_cast<double>(explained + other) : 0.0;
  }

  std::vector<Unit> fit_units(const Sample& sample, Grid grid, std::size_t unit, ScaleInterval* scale) {
    std::vector<Unit> units;
    for_each_unit(sample, unit, [&](std::span<const float> weights) {
      collect_magnitudes(weights, precision_, magnitudes_);
      const GridFit fit = fit_grid(magnitudes_, max_code(grid));
      units.push_back({fit.hits, grid == Grid::binary ? weights.size() : magnitudes_.size()});
      if (scale) *scale = fit.scale;
      return true;
    });
    return units;
  }

  const Sample& sample_;
  StoredPrecision precision_;
  std::vector<Sample> shaken_;
  Magnitudes magnitudes_;
};

struct Candidate {
  Grid grid = Grid::ternary;
  std::size_t unit = 0;
  Search::Score score;
  double bits = 0;  // per weight
};

// Units from fine to coarse: groups, the row, and 0 for the tensor.
std::vector<std::size_t> candidate_units(const Layout& layout) {
  std::vector<std::size_t> units;
  for (std::size_t unit = kSmallestGroup; unit < layout.columns && unit <= kLongestPrefix; ++unit)
    if (layout.columns % unit == 0) units.push_back(unit);
  if (layout.rows > 1 && layout.columns <= kLongestPrefix && layout.columns > 1) units.push_back(layout.columns);
  units.push_back(0);
  return units;
}
bool contains(std::size_t coarse, std::size_t fine) { return fine != 0 && (coarse == 0 || coarse % fine == 0); }

double cost(Grid grid, std::size_t unit) {
  return std::log2(level_count(grid)) + (unit ? 16.0 / static_cast<double>(unit) : 0.0);
}

// All weights lie on a grid: what explains a unit explains its parts, so a unit is tried only where its parts were
// explained. Data alone decide; chance is looked at once, for what was found.
std::optional<Candidate> cheapest_whole(Search& search, const std::vector<std::size_t>& units,
                                        std::span<const std::size_t> finest) {
  std::optional<Candidate> best;
  for (const Grid grid : kAllGrids) {
    std::vector<std::size_t> failed;
    for (const std::size_t unit : units) {
      if (std::any_of(failed.begin(), failed.end(),
                      [&](std::size_t part) { return contains(unit, part) && unit != part; }))
        continue;
      ScaleInterval scale;
      if (!search.explains_all(grid, unit, scale))
        failed.push_back(unit);
      else if (!best || cost(grid, unit) < best->bits)
        best = Candidate{grid, unit, {1.0, 0.0, scale}, cost(grid, unit)};
      if (failed.size() >= finest.size() && std::equal(finest.begin(), finest.end(), failed.begin())) break;
    }
  }
  if (best && search.chance_explains_all(best->grid, best->unit)) return std::nullopt;
  return best;
}

// With more levels than int4's, half a unit of bfloat16 covers so much of the line that a part on the grid means
// nothing.
constexpr Grid kPartialGrids[] = {Grid::binary, Grid::ternary, Grid::quinary, Grid::septenary, Grid::int4};
constexpr std::size_t kSmallestPartialGroup = 32;
// The few values of a gain or bias often lie so close together that some are equal.
constexpr std::size_t kSmallestPartialTensor = 4096;

// What a finer unit or more levels may add by chance, and nothing more.
constexpr double kSameUnit = 0.8, kSameGrid = 0.94;

// A part of the weights lies on a grid: the coarsest unit near the best, and there the fewest levels near the best.
std::optional<Candidate> partial(Search& search, const std::vector<std::size_t>& units, const Sample& sample) {
  const bool zeros = std::find(sample.weights.begin(), sample.weights.end(), 0.0f) != sample.weights.end();
  std::vector<std::size_t> tried;
  for (const std::size_t unit : units)
    if (unit == 0 || unit >= kSmallestPartialGroup) tried.push_back(unit);
  if (std::none_of(tried.begin(), tried.end(),
                   [&](std::size_t unit) { return search.score(Grid::ternary, unit).excess > 0; }))
    return std::nullopt;
  std::vector<std::vector<Candidate>> candidates;  // by unit, then by grid
  double most = 0;
  for (const std::size_t unit : tried) {
    auto& row = candidates.emplace_back();
    for (const Grid grid : kPartialGrids) {
      if (grid == Grid::binary && zeros) continue;
      row.push_back({grid, unit, search.score(grid, unit), cost(grid, unit)});
      most = std::max(most, row.back().score.excess);
    }
  }
  const auto best_of = [](const std::vector<Candidate>& row) {
    double best = 0;
    for (const Candidate& candidate : row) best = std::max(best, candidate.score.excess);
    return best;
  };
  const auto row = std::find_if(candidates.rbegin(), candidates.rend(),
                                [&](const auto& one) { return best_of(one) >= kSameUnit * most; });
  return *std::find_if(row->begin(), row->end(),
                       [&](const Candidate& candidate) { return candidate.score.excess >= kSameGrid * best_of(*row); });
}

std::optional<Candidate> search_grid(const Sample& sample, const Layout& layout, StoredPrecision precision,
                                     DType actual) {
  Search search(sample, precision, actual);
  const std::vector<std::size_t> units = candidate_units(layout);
  std::vector<std::size_t> finest;
  for (const std::size_t unit : units)
    if (std::none_of(finest.begin(), finest.end(), [&](std::size_t part) { return contains(unit, part); }))
      finest.push_back(unit);
  if (auto whole = cheapest_whole(search, units, finest)) return whole;
  if (layout.rows * layout.columns < kSmallestPartialTensor) return std::nullopt;
  return partial(search, units, sample);
}

// All weights, in blocks of whole rows (or of a long row): how many are on the candidate's grid, and what else is seen.
struct Count {
  std::int64_t on_grid = 0;
  std::int64_t not_finite = 0;
};

// Zeros lie on every grid but binary; in a unit that only chance explains nothing counts.
std::int64_t on_grid(const Candidate& candidate, std::span<const float> unit, StoredPrecision precision,
                     Magnitudes& magnitudes) {
  collect_magnitudes(unit, precision, magnitudes);
  const std::int64_t zeros = std::count(unit.begin(), unit.end(), 0.0f);
  const bool binary = candidate.grid == Grid::binary;
  if (candidate.unit == 0)
    return static_cast<std::int64_t>(count_on_grid(magnitudes, max_code(candidate.grid), candidate.score.scale)) +
           (binary ? 0 : zeros);
  const Unit found{fit_grid(magnitudes, max_code(candidate.grid)).hits, binary ? unit.size() : magnitudes.size()};
  if (!Search::counts(found, candidate.score.threshold)) return 0;
  return static_cast<std::int64_t>(found.hits) + (binary ? 0 : zeros);
}

Count count_all(const TensorView& tensor, const Layout& layout, const std::optional<Candidate>& candidate,
                StoredPrecision precision, std::size_t threads) {
  // A unit never lies in two blocks.
  const std::size_t piece = candidate && candidate->unit ? candidate->unit : 1;
  const std::size_t total = layout.rows * layout.columns;
  const std::size_t block = std::max<std::size_t>(1, kBlockWeights / piece) * piece;
  std::atomic<std::int64_t> hits{0}, not_finite{0};
  parallel_for((total + block - 1) / block, threads, [&](std::size_t index) {
    const std::size_t first = index * block;
    std::vector<float> weights(std::min(block, total - first));
    if (!read_floats(tensor, first, weights)) return;  // checked before: the view has its bytes
    std::int64_t bad = 0, found = 0;
    for (const float weight : weights) bad += !std::isfinite(weight);
    not_finite += bad;
    if (!candidate) return;
    Magnitudes magnitudes;
    const std::size_t unit = candidate->unit ? candidate->unit : weights.size();
    for (std::size_t at = 0; at < weights.size(); at += unit)
      found += on_grid(*candidate, std::span(weights).subspan(at, unit), precision, magnitudes);
    hits += found;
  });
  return {hits, not_finite};
}

bool all_equal(const TensorView& tensor) {
  const std::size_t width = bytes_per_element(tensor.dtype);
  for (std::size_t at = width; at < tensor.data.size(); at += width)
    if (std::memcmp(tensor.data.data(), tensor.data.data() + at, width) != 0) return false;
  return true;
}

}  // namespace

Result<TensorLevels> find_levels(const TensorView& tensor, std::size_t threads) {
  TensorLevels levels{tensor.name, tensor.dtype, tensor.shape, element_count(tensor.shape), 0, false, std::nullopt};
  if (!is_floating_point(tensor.dtype) || levels.weights == 0) return levels;
  levels.constant = all_equal(tensor);
  const Layout layout = layout_of(tensor.shape);
  std::optional<Candidate> candidate;
  StoredPrecision precision = stored_precision(tensor.dtype);
  if (!levels.constant && layout.rows * layout.columns >= kSmallestTensor) {
    P5_TRY(const Sample sample, take_sample(tensor, layout));
    const DType actual = actual_type(sample.weights, tensor.dtype);
    // bfloat16 or fp16 values in a float32 file were rounded all the same. Eight bits are too coarse to allow for that.
    if (actual != DType::float8_e4m3) precision = stored_precision(actual);
    candidate = search_grid(sample, layout, precision, actual);
  }
  const Count count = count_all(tensor, layout, candidate, precision, threads);
  levels.not_finite = count.not_finite;
  if (candidate) {
    const std::size_t unit = candidate->unit;
    const Granularity granularity = unit == 0                                   ? Granularity::tensor
                                    : unit == layout.columns && layout.rows > 1 ? Granularity::row
                                                                                : Granularity::group;
    levels.finding = LevelsFinding{candidate->grid, granularity,
                                   unit ? static_cast<std::int64_t>(unit) : levels.weights, count.on_grid};
  }
  return levels;
}

std::int64_t counted_weights(std::span<const TensorLevels> tensors) {
  std::int64_t weights = 0;
  for (const TensorLevels& tensor : tensors)
    if (is_floating_point(tensor.dtype)) weights += tensor.weights;
  return weights;
}

std::vector<GridShare> grid_shares(std::span<const TensorLevels> tensors) {
  const std::int64_t total = counted_weights(tensors);
  std::vector<GridShare> shares;
  for (const Grid grid : kAllGrids) {
    GridShare entry{grid, 0, 0};
    for (const TensorLevels& tensor : tensors)
      if (tensor.finding && max_code(tensor.finding->grid) <= max_code(grid) &&
          level_count(tensor.finding->grid) <= level_count(grid))
        entry.weights += tensor.finding->on_grid;
    entry.share = total ? static_cast<double>(entry.weights) / static_cast<double>(total) : 0.0;
    shares.push_back(entry);
  }
  return shares;
}

}  // namespace par5
