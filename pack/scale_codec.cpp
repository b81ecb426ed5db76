#include "pack/scale_codec.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>

#include "core/half.h"
#include "pack/quantizer.h"

namespace par5 {
namespace {

constexpr std::uint16_t kSmallestScale = 1;      // 2^-24
constexpr std::uint16_t kLargestScale = 0x7bff;  // 65504
constexpr std::uint16_t kInfiniteHalf = 0x7c00;
constexpr std::uint16_t kAnchorOfSilence = 0xce00;  // -24
constexpr int kFractionBits = 24;  // log2 values are integers in units of 2^-24, in which every finite fp16 is exact

// kRoots[k - 1] = round(2^31 · 2^(2^-k)).
constexpr std::array<std::uint64_t, 24> kRoots = {
    3037000500, 2553802834, 2341847524, 2242560872, 2194507417, 2170868212, 2159144272, 2153306067,
    2150392887, 2148937775, 2148210589, 2147847087, 2147665360, 2147574502, 2147529075, 2147506361,
    2147495005, 2147489326, 2147486487, 2147485068, 2147484358, 2147484003, 2147483825, 2147483737};

// A finite fp16's value in units of 2^-24.
std::int64_t half_to_fixed(std::uint16_t bits) {
  const int exponent = (bits >> 10) & 31;
  const std::int64_t mantissa = bits & 0x3ff;
  const std::int64_t magnitude = exponent == 0 ? mantissa : (1024 + mantissa) << (exponent - 1);
  return bits & 0x8000 ? -magnitude : magnitude;
}

std::uint64_t shift_right_round_even(std::uint64_t value, int shift) {
  const std::uint64_t kept = value >> shift, rest = value & ((std::uint64_t{1} << shift) - 1);
  const std::uint64_t half = std::uint64_t{1} << (shift - 1);
  return kept + (rest > half || (rest == half && (kept & 1)) ? 1 : 0);
}

// log2 of a positive finite fp16, in units of 2^-24, by repeated squaring: each squaring doubles the logarithm, whose
// next bit is whether the square has reached 2.
std::int64_t log2_fixed(std::uint16_t bits) {
  const auto value = static_cast<std::uint64_t>(half_to_fixed(bits));
  const auto top = static_cast<int>(std::bit_width(value)) - 1;
  std::uint64_t mantissa = value << (31 - std::min(31, top)) >> std::max(0, top - 31);  // in [2^31, 2^32)
  std::int64_t log2 = top - kFractionBits;
  for (int i = 0; i < kFractionBits; ++i) {
    mantissa = (mantissa * mantissa) >> 31;
    const std::uint64_t carry = mantissa >> 32;
    mantissa >>= carry;
    log2 = 2 * log2 + static_cast<std::int64_t>(carry);
  }
  return log2;
}

// fp16 of exp2(fixed · 2^-24), at least 2^-24 and at most 65504.
std::uint16_t exp2_half(std::int64_t fixed) {
  const std::int64_t exponent = fixed >> kFractionBits;  // floor
  if (exponent > 15) return kLargestScale;
  if (exponent < -26) return kSmallestScale;
  const auto fraction = static_cast<std::uint64_t>(fixed) & ((1u << kFractionBits) - 1);
  std::uint64_t mantissa = std::uint64_t{1} << 31;
  for (int k = 1; k <= kFractionBits; ++k)
    if ((fraction >> (kFractionBits - k)) & 1)
      mantissa = (mantissa * kRoots[static_cast<std::size_t>(k - 1)] + (std::uint64_t{1} << 30)) >> 31;
  // The mantissa's leading bit adds 1 to the exponent field, and so does a carry from rounding.
  const int e = static_cast<int>(exponent);
  const std::uint64_t bits = e >= -14
                                 ? (static_cast<std::uint64_t>(e + 14) << 10) + shift_right_round_even(mantissa, 21)
                                 : shift_right_round_even(mantissa, 21 - 14 - e);
  return static_cast<std::uint16_t>(std::clamp<std::uint64_t>(bits, kSmallestScale, kLargestScale));
}

std::size_t group_size(const QuantizedTensor& tensor) {
  return tensor.scales.empty() ? 0 : tensor.codes.size() / tensor.scales.size();
}

std::vector<bool> silent_groups(const QuantizedTensor& tensor) {
  const std::size_t size = group_size(tensor);
  std::vector<bool> silent(tensor.scales.size(), false);
  for (std::size_t g = 0; g < silent.size(); ++g) {
    const auto begin = tensor.codes.begin() + static_cast<std::ptrdiff_t>(g * size);
    silent[g] = tensor.scales[g] == kSmallestScale && std::all_of(begin, begin + static_cast<std::ptrdiff_t>(size),
                                                                  [](std::int8_t code) { return code == 0; });
  }
  return silent;
}

// One different scale of a tensor: its log2 and how often it stands there.
struct Level {
  std::int64_t log2 = 0;
  double count = 0;
};

std::int64_t floor_divide(std::int64_t a, std::int64_t b) { return a / b - (a % b != 0 && a < 0 ? 1 : 0); }

struct Candidate {
  std::uint16_t anchor = 0;
  std::uint16_t step = 0;
  double error = 0;  // sum of squared log2 errors, units of 2^-48
};

// The search for anchor and step over the different scales of one tensor.
class Fit {
 public:
  Fit(std::vector<Level> levels, int bits) : levels_(std::move(levels)), half_range_(std::int64_t{1} << (bits - 1)) {}

  Candidate best() const {
    const std::int64_t low = levels_.front().log2, high = levels_.back().log2;
    if (low == high) return {to_half(static_cast<double>(low)), 0, 0};
    double weight = 0, sum = 0;
    for (const Level& level : levels_) {
      weight += level.count;
      sum += level.count * static_cast<double>(level.log2);
    }
    const double steps = static_cast<double>(2 * half_range_ - 1), width = static_cast<double>(high - low);
    Candidate best{0, 0, -1};
    // A narrower range than the spread clips outliers and resolves the rest better.
    for (const double centre : {static_cast<double>(low) + width / 2, sum / weight})
      for (int shrink = 0; shrink < 13; ++shrink) {
        const double step = width * (1.0 - 0.05 * shrink) / steps;
        improve(centre + step / 2, step, best);
      }
    return descend(best);
  }

  std::int64_t delta(std::int64_t log2, std::int64_t anchor, std::int64_t step) const {
    if (step == 0) return 0;
    return std::clamp(floor_divide(log2 - anchor + step / 2, step), -half_range_, half_range_ - 1);
  }

 private:
  static std::uint16_t to_half(double fixed) { return half_from_float(static_cast<float>(fixed * 0x1p-24)); }

  double error(std::uint16_t anchor_half, std::uint16_t step_half) const {
    const std::int64_t anchor = half_to_fixed(anchor_half), step = half_to_fixed(step_half);
    double total = 0;
    for (const Level& level : levels_) {
      const auto off = static_cast<double>(level.log2 - anchor - delta(level.log2, anchor, step) * step);
      total += level.count * (off * off);
    }
    return total;
  }

  // Alternates between assigning deltas and the straight line through them (least squares), from a starting point.
  void improve(double anchor, double step, Candidate& best) const {
    for (int round = 0; round < 4; ++round) {
      const Candidate here{to_half(anchor), to_half(step), 0};
      if (here.step == 0 || here.step >= 0x8000) return;
      const std::int64_t a = half_to_fixed(here.anchor), s = half_to_fixed(here.step);
      double n = 0, sum_d = 0, sum_l = 0, sum_dd = 0, sum_dl = 0, total = 0;
      for (const Level& level : levels_) {
        const auto d = static_cast<double>(delta(level.log2, a, s));
        const auto l = static_cast<double>(level.log2 - a);
        const double off = l - d * static_cast<double>(s);
        n += level.count;
        sum_d += level.count * d;
        sum_l += level.count * l;
        sum_dd += level.count * (d * d);
        sum_dl += level.count * (d * l);
        total += level.count * (off * off);
      }
      if (best.error < 0 || total < best.error) best = {here.anchor, here.step, total};
      const double spread = n * sum_dd - sum_d * sum_d;
      if (spread <= 0) return;
      step = (n * sum_dl - sum_d * sum_l) / spread;
      anchor = static_cast<double>(a) + (sum_l - step * sum_d) / n;
    }
  }

  // Steps of one fp16 unit in anchor and step while they help: what rounding both to fp16 has left.
  Candidate descend(Candidate best) const {
    for (int round = 0; round < 32; ++round) {
      Candidate next = best;
      for (int a = -2; a <= 2; ++a)
        for (int s = -2; s <= 2; ++s) {
          const auto anchor = static_cast<std::uint16_t>(best.anchor + a);
          const auto step = static_cast<std::uint16_t>(best.step + s);
          if (step == 0 || step >= kInfiniteHalf || (anchor & 0x7fffu) >= kInfiniteHalf) continue;
          const double total = error(anchor, step);
          if (total < next.error) next = {anchor, step, total};
        }
      if (next.error >= best.error) break;
      best = next;
    }
    return best;
  }

  std::vector<Level> levels_;
  std::int64_t half_range_;
};

}  // namespace

ScaleDeltas fit_scale_deltas(const QuantizedTensor& tensor, int bits) {
  const std::vector<bool> silent = silent_groups(tensor);
  std::vector<std::uint32_t> counts(kInfiniteHalf, 0);
  for (std::size_t g = 0; g < tensor.scales.size(); ++g)
    if (!silent[g]) ++counts[tensor.scales[g]];
  std::vector<Level> levels;
  for (std::size_t half = 0; half < counts.size(); ++half)
    if (counts[half])
      levels.push_back({log2_fixed(static_cast<std::uint16_t>(half)), static_cast<double>(counts[half])});

  ScaleDeltas result{bits, kAnchorOfSilence, 0, std::vector<std::int8_t>(tensor.scales.size(), 0)};
  if (levels.empty()) return result;
  const Fit fit(std::move(levels), bits);
  const Candidate best = fit.best();
  result.anchor = best.anchor;
  result.step = best.step;
  const std::int64_t anchor = half_to_fixed(best.anchor), step = half_to_fixed(best.step);
  for (std::size_t g = 0; g < tensor.scales.size(); ++g)
    if (!silent[g]) result.deltas[g] = static_cast<std::int8_t>(fit.delta(log2_fixed(tensor.scales[g]), anchor, step));
  return result;
}

std::uint16_t reconstruct_scale(std::uint16_t anchor, std::uint16_t step, int delta) {
  return exp2_half(half_to_fixed(anchor) + delta * half_to_fixed(step));
}

std::vector<std::uint16_t> reconstruct_scales(const ScaleDeltas& deltas) {
  std::array<std::uint16_t, 256> table{};
  for (int delta = -128; delta < 128; ++delta)
    table[static_cast<std::size_t>(delta + 128)] = reconstruct_scale(deltas.anchor, deltas.step, delta);
  std::vector<std::uint16_t> scales(deltas.deltas.size());
  for (std::size_t i = 0; i < scales.size(); ++i) scales[i] = table[static_cast<std::size_t>(deltas.deltas[i] + 128)];
  return scales;
}

Status check_scale_deltas(const ScaleDeltas& deltas) {
  if (deltas.bits != 4 && deltas.bits != 5 && deltas.bits != 6 && deltas.bits != 8)
    return bad_data("scale deltas of " + std::to_string(deltas.bits) + " bits; they have 4, 5, 6 or 8");
  if ((deltas.anchor & 0x7fffu) >= kInfiniteHalf) return bad_data("the anchor of the scales is not finite");
  if (deltas.step >= kInfiniteHalf) return bad_data("the step of the scales is not a finite number of at least 0");
  const int half_range = 1 << (deltas.bits - 1);
  for (std::size_t i = 0; i < deltas.deltas.size(); ++i)
    if (deltas.deltas[i] < -half_range || deltas.deltas[i] >= half_range)
      return bad_data("scale delta " + std::to_string(i) + " is " + std::to_string(deltas.deltas[i]) + ", outside " +
                          std::to_string(deltas.bits) + " bits",
                      {}, i);
  return {};
}

double ScaleError::max_percent() const { return 100.0 * (std::exp2(max_log2) - 1.0); }
double ScaleError::rms_percent() const { return 100.0 * (std::exp2(rms_log2) - 1.0); }

ScaleError scale_error(const QuantizedTensor& tensor, const ScaleDeltas& deltas) {
  const std::vector<bool> silent = silent_groups(tensor);
  const std::vector<std::uint16_t> rebuilt = reconstruct_scales(deltas);
  ScaleError error;
  double squares = 0;
  for (std::size_t g = 0; g < tensor.scales.size(); ++g) {
    if (silent[g]) continue;
    const double off = static_cast<double>(log2_fixed(rebuilt[g]) - log2_fixed(tensor.scales[g])) * 0x1p-24;
    error.max_log2 = std::max(error.max_log2, std::abs(off));
    squares += off * off;
    ++error.scales;
  }
  if (error.scales > 0) error.rms_log2 = std::sqrt(squares / static_cast<double>(error.scales));
  return error;
}

}  // namespace par5
