#include "archive/upgrades.h"

#include <algorithm>
#include <cmath>

#include "core/half.h"

namespace par5 {
namespace {

constexpr int kSteps = 4000;   // of the numeric integrals
constexpr double kReach = 24;  // beyond so many mean magnitudes nothing is left

// Simpson's rule.
template <class Function>
double integral(double from, double to, const Function& f) {
  const double step = (to - from) / kSteps;
  double sum = f(from) + f(to);
  for (int i = 1; i < kSteps; ++i) sum += (i % 2 ? 4 : 2) * f(from + step * i);
  return sum * step / 3;
}

double split_entropy(double share) {
  if (share <= 0 || share >= 1) return 0;
  return -share * std::log2(share) - (1 - share) * std::log2(1 - share);
}

// Number of fp16 values between the scales half a delta below and above.
double halves_within(const ScaleDeltas& deltas, int delta) {
  const auto here = [&](int d) { return static_cast<double>(reconstruct_scale(deltas.anchor, deltas.step, d)); };
  return std::max(1.0, (here(delta + 1) - here(delta - 1)) / 2);
}

struct Scales {
  double count = 0, fp16_bits = 0, squared_error = 0;
};
Scales describe_scales(const StoredModel& model) {
  Scales scales;
  for (const StoredTensor& tensor : model.tensors) {
    const auto* quantized = std::get_if<QuantizedTensor>(&tensor.data);
    if (!quantized || !quantized->deltas) continue;
    const ScaleDeltas& deltas = *quantized->deltas;
    const double step = static_cast<double>(float_from_half(deltas.step)) * std::log(2.0);
    for (const std::int8_t delta : deltas.deltas) {
      scales.count += 1;
      scales.fp16_bits += std::log2(halves_within(deltas, delta));
      scales.squared_error += step * step / 12;  // evenly spread within a step
    }
  }
  return scales;
}

const char* wider_grid(Grid grid) {
  return grid == Grid::ternary ? "a quinary grid" : grid == Grid::quinary ? "a septenary grid" : nullptr;
}

}  // namespace

GeneralizedGaussian::GeneralizedGaussian(double shape)
    : shape_(shape),
      scale_(std::exp(std::lgamma(1 / shape) - std::lgamma(2 / shape))),
      norm_(shape / (scale_ * std::tgamma(1 / shape))) {}

double GeneralizedGaussian::share_above(double magnitude) const {
  // The density of |x|; from 0 it is smooth enough for shapes from 0.5 on.
  const auto density = [this](double x) { return norm_ * std::exp(-std::pow(x / scale_, shape_)); };
  if (magnitude < 1) return 1 - integral(0, magnitude, density);
  return integral(magnitude, kReach, density);
}

GeneralizedGaussian GeneralizedGaussian::with_zero_share(double zero_share) {
  // More zeros mean heavier tails: the share falls as the shape grows.
  double low = 0.5, high = 16;
  for (int i = 0; i < 40; ++i) {
    const double middle = std::sqrt(low * high);
    (1 - GeneralizedGaussian(middle).share_above(0.5) > zero_share ? low : high) = middle;
  }
  return GeneralizedGaussian(std::sqrt(low * high));
}

double GeneralizedGaussian::rounding_error(int levels) const {
  const auto weighted = [this](double x, double value) {
    return value * norm_ * std::exp(-std::pow(x / scale_, shape_));
  };
  double error = 0;
  for (int level = 0; level <= levels; ++level) {
    const double from = std::max(0.0, level - 0.5), to = level == levels ? kReach : level + 0.5;
    error += integral(from, to, [&](double x) { return weighted(x, (x - level) * (x - level)); });
  }
  return std::sqrt(error / integral(0, kReach, [&](double x) { return weighted(x, x * x); }));
}

std::vector<Upgrade> upgrades(const Artifact& artifact, const ArtifactReport& report) {
  std::vector<Upgrade> list;
  const StoredModel& model = artifact.model;
  const auto bytes = [](double bits) { return static_cast<std::int64_t>(std::llround(bits / 8)); };

  const int bits = static_cast<int>(model.quantizer.scale_bits);
  if (const Scales scales = describe_scales(model); scales.count > 0) {
    const double error = 100 * std::sqrt(scales.squared_error / scales.count);
    for (const int finer : {5, 6, 8})
      if (finer > bits)
        list.push_back({"scales at " + std::to_string(finer) + " bits", bytes(scales.count * (finer - bits)), error,
                        error / std::exp2(finer - bits)});
    list.push_back({"fp16 scales", bytes(scales.fp16_bits), error, 0});
  }

  if (const char* wider = wider_grid(model.quantizer.grid)) {
    const int levels = max_code(model.quantizer.grid);
    double more_bits = 0, weights = 0, before = 0, after = 0;
    for (std::size_t i = 0; i < model.tensors.size(); ++i) {
      if (!std::holds_alternative<QuantizedTensor>(model.tensors[i].data)) continue;
      const auto count = static_cast<double>(element_count(model.tensors[i].spec.shape));
      const auto shape = GeneralizedGaussian::with_zero_share(report.tensors[i].zero_share);
      const double outer = shape.share_above(levels - 0.5), beyond = shape.share_above(levels + 0.5);
      more_bits += count * outer * split_entropy(outer > 0 ? beyond / outer : 0);
      before += count * std::pow(shape.rounding_error(levels), 2);
      after += count * std::pow(shape.rounding_error(levels + 1), 2);
      weights += count;
    }
    if (weights > 0)
      list.push_back({wider, bytes(more_bits), 100 * std::sqrt(before / weights), 100 * std::sqrt(after / weights)});
  }

  double embedding = 0;
  for (const StoredTensor& tensor : model.tensors)
    if (const auto* fp8 = std::get_if<Fp8Tensor>(&tensor.data)) embedding += static_cast<double>(fp8->codes.size());
  // A mantissa of n bits rounds by at most 2^-(n + 1) of its binade, evenly: relative to the value that is about
  // 2^-n / sqrt(12) / 1.5.
  const auto mantissa_error = [](int n) { return 100 * std::exp2(-n) / std::sqrt(12.0) / 1.5; };
  if (embedding > 0)
    list.push_back({"fp16 instead of fp8", bytes(7 * embedding), mantissa_error(3), mantissa_error(10)});

  std::uint64_t layer = 0;
  for (const TensorReport& tensor : report.tensors)
    if (tensor.name.starts_with("blocks.") || tensor.name.starts_with("transformer.h."))
      for (const StreamReport& stream : tensor.streams) layer += stream.stored_bytes;
  if (model.model.layers > 0)
    list.push_back({"one more layer", static_cast<std::int64_t>(layer) / model.model.layers, 0, 0});
  std::stable_sort(list.begin(), list.end(), [](const Upgrade& a, const Upgrade& b) { return a.bytes < b.bytes; });
  return list;
}

}  // namespace par5
