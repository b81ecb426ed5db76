#include "pack/grid_fit.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>

namespace par5 {
namespace {

// A sample of so many magnitudes decides whether a scale is worth a look at all of them.
constexpr std::size_t kProbe = 64;
constexpr std::size_t kProbeMisses = kProbe - kProbe / 10;
// A scale that explains less than an eighth counts for nothing: what it takes to pass the probe by luck must not
// matter.
constexpr std::size_t kSmallestPart = 8;

// The codes c in 1 … max_code for which some scale of the interval explains the magnitude; empty if first > last.
struct CodeRange {
  int first = 1;
  int last = 0;
};
CodeRange codes_of(double value, double half_unit, double inverse_low, double inverse_high, int max_code) {
  const double low = (value - half_unit) * inverse_high - kGridTolerance;
  if (low > max_code) return {};
  const double high = (value + half_unit) * inverse_low + kGridTolerance;
  int first = 1;
  if (low > 1) {
    first = static_cast<int>(low);
    first += first < low;
  }
  return {first, high >= max_code ? max_code : static_cast<int>(high)};
}

// Hits for scales of the interval, which every magnitude that fits one code only makes narrower. Gives up, with 0,
// after more than `allowed_misses` misses.
std::size_t narrow(std::span<const float> value, std::span<const float> half_unit, int max_code, ScaleInterval& scale,
                   std::size_t allowed_misses) {
  double inverse_low = 1 / scale.low, inverse_high = 1 / scale.high;
  std::size_t misses = 0;
  bool ambiguous = false;
  for (std::size_t i = 0; i < value.size(); ++i) {
    const double v = value[i], h = half_unit[i];
    const CodeRange codes = codes_of(v, h, inverse_low, inverse_high, max_code);
    if (codes.first > codes.last) {
      if (++misses > allowed_misses) return 0;
    } else if (codes.first == codes.last) {
      const double low = (v - h) / (codes.first + kGridTolerance), high = (v + h) / (codes.first - kGridTolerance);
      if (low > scale.low) inverse_low = 1 / (scale.low = low);
      if (high < scale.high) inverse_high = 1 / (scale.high = high);
    } else {
      ambiguous = true;
    }
  }
  if (!ambiguous) return value.size() - misses;
  // What fitted several codes may fit none of them now.
  std::size_t hits = 0;
  for (std::size_t i = 0; i < value.size(); ++i) {
    const CodeRange codes = codes_of(value[i], half_unit[i], inverse_low, inverse_high, max_code);
    hits += codes.first <= codes.last;
  }
  return hits;
}

// Index of a magnitude that occurs most often within the tolerance, or of the first one where none repeats.
std::size_t most_frequent(const Magnitudes& magnitudes) {
  std::vector<std::uint32_t> order(magnitudes.size());
  for (std::uint32_t i = 0; i < order.size(); ++i) order[i] = i;
  std::sort(order.begin(), order.end(), [&](std::uint32_t a, std::uint32_t b) {
    return magnitudes.value[a] != magnitudes.value[b] ? magnitudes.value[a] < magnitudes.value[b] : a < b;
  });
  std::size_t best = 0, best_count = 0;
  for (std::size_t i = 0, end = 0; i < order.size(); ++i) {
    const double first = magnitudes.value[order[i]];
    while (end < order.size() && magnitudes.value[order[end]] <= first * (1 + kGridTolerance)) ++end;
    if (end - i > best_count) {
      best_count = end - i;
      best = order[i + (end - i) / 2];
    }
  }
  return best;
}

std::size_t largest_of(const Magnitudes& magnitudes) {
  return static_cast<std::size_t>(std::max_element(magnitudes.value.begin(), magnitudes.value.end()) -
                                  magnitudes.value.begin());
}

// The scales for which magnitude `index` has this code.
ScaleInterval scale_giving(const Magnitudes& magnitudes, std::size_t index, int code) {
  const double v = magnitudes.value[index], h = magnitudes.half_unit[index];
  return {(v - h) / (code + kGridTolerance), (v + h) / (code - kGridTolerance)};
}

class Search {
 public:
  Search(const Magnitudes& magnitudes, int max_code) : magnitudes_(magnitudes), max_code_(max_code) {
    const std::size_t n = magnitudes.size();
    if (n <= 2 * kProbe) return;
    // Spread over all, and by an odd step, so that rows and columns both differ.
    for (std::size_t i = 0; i < kProbe; ++i) {
      const std::size_t at = (i * (n / kProbe) + i * 7 % (n / kProbe)) % n;
      probe_.value.push_back(magnitudes.value[at]);
      probe_.half_unit.push_back(magnitudes.half_unit[at]);
    }
  }

  // Scales that give magnitude `index` a code.
  void try_anchor(std::size_t index) {
    for (int code = max_code_; code >= 1 && best_.hits < magnitudes_.size(); --code) {
      const ScaleInterval start = scale_giving(magnitudes_, index, code);
      if (probe_.size()) {
        ScaleInterval scale = start;
        if (!narrow(probe_.value, probe_.half_unit, max_code_, scale, kProbeMisses)) continue;
      }
      ScaleInterval scale = start;
      const std::size_t hits =
          narrow(magnitudes_.value, magnitudes_.half_unit, max_code_, scale,
                 magnitudes_.size() - std::max(best_.hits, (magnitudes_.size() - 1) / kSmallestPart) - 1);
      if (hits > best_.hits) best_ = {hits, scale};
    }
  }
  const GridFit& best() const { return best_; }

 private:
  const Magnitudes& magnitudes_;
  int max_code_;
  Magnitudes probe_;
  GridFit best_;
};

}  // namespace

float StoredPrecision::half_unit(float value) const {
  const float power = std::bit_cast<float>(std::bit_cast<std::uint32_t>(value) & 0x7f800000u);
  return std::max(power, smallest) * factor;
}

StoredPrecision stored_precision(DType dtype) {
  switch (dtype) {
    case DType::float16:
      return {0x1p-11f, 0x1p-14f};
    case DType::bfloat16:
      return {0x1p-8f, 0x1p-126f};
    case DType::float8_e4m3:
      return {0x1p-4f, 0x1p-6f};
    default:
      return {};
  }
}

void collect_magnitudes(std::span<const float> weights, StoredPrecision precision, Magnitudes& out) {
  out.value.clear();
  out.half_unit.clear();
  for (const float weight : weights) {
    if (weight == 0.0f || !std::isfinite(weight)) continue;
    out.value.push_back(std::fabs(weight));
    out.half_unit.push_back(precision.half_unit(weight));
  }
}

GridFit fit_grid_wholly(const Magnitudes& magnitudes, int max_code) {
  const std::size_t anchor = largest_of(magnitudes);
  for (int code = max_code; code >= 1 && magnitudes.size(); --code) {
    ScaleInterval scale = scale_giving(magnitudes, anchor, code);
    if (narrow(magnitudes.value, magnitudes.half_unit, max_code, scale, 0) == magnitudes.size())
      return {magnitudes.size(), scale};
  }
  return {};
}

GridFit fit_grid(const Magnitudes& magnitudes, int max_code) {
  if (magnitudes.size() == 0) return {};
  Search search(magnitudes, max_code);
  const std::size_t largest = largest_of(magnitudes);
  search.try_anchor(largest);
  if (search.best().hits < magnitudes.size()) {
    const std::size_t frequent = most_frequent(magnitudes);
    if (magnitudes.value[frequent] != magnitudes.value[largest]) search.try_anchor(frequent);
  }
  return search.best();
}

std::size_t count_on_grid(const Magnitudes& magnitudes, int max_code, const ScaleInterval& scale) {
  const double inverse_low = 1 / scale.low, inverse_high = 1 / scale.high;
  std::size_t hits = 0;
  for (std::size_t i = 0; i < magnitudes.size(); ++i) {
    const CodeRange codes = codes_of(magnitudes.value[i], magnitudes.half_unit[i], inverse_low, inverse_high, max_code);
    hits += codes.first <= codes.last;
  }
  return hits;
}

}  // namespace par5
