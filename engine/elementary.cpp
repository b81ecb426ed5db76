#include "engine/elementary.h"

namespace par5::exact {
namespace {

constexpr double kRounder64 = 6755399441055744.0;  // 1.5 · 2^52

// Taylor's series by Horner's rule; `last` is the highest term's index, term k divides by divisor(k).
double sine_series(double r) {
  const double s = r * r;
  double p = 1.0;
  for (int k = 9; k >= 1; --k) p = 1.0 - s * p / ((2.0 * k) * (2.0 * k + 1.0));
  return r * p;
}
double cosine_series(double r) {
  const double s = r * r;
  double p = 1.0;
  for (int k = 9; k >= 1; --k) p = 1.0 - s * p / ((2.0 * k - 1.0) * (2.0 * k));
  return p;
}

// x = quarter · pi/2 + remainder, |remainder| <= pi/4; pi/2 as a sum of three doubles.
struct Quarter {
  std::uint64_t quarter;
  double remainder;
};
Quarter reduce(double x) {
  const double shifted = x * 0x1.45f306dc9c883p-1 + kRounder64;
  const double n = shifted - kRounder64;
  double r = std::fma(n, -0x1.921fb54442d18p+0, x);
  r = std::fma(n, -0x1.1a62633145c07p-54, r);
  r = std::fma(n, 0x1.f1976b7ed8fbcp-110, r);
  return {std::bit_cast<std::uint64_t>(shifted) & 3u, r};
}

}  // namespace

double exp64(double x) {
  if (x != x) return x;
  if (x < -708.0) return 0.0;
  if (x > 709.0) return HUGE_VAL;
  const double shifted = x * 0x1.71547652b82fep+0 + kRounder64;
  const double n = shifted - kRounder64;
  double r = std::fma(n, -0x1.62e42fefa39efp-1, x);
  r = std::fma(n, -0x1.abc9e3b39803fp-56, r);
  double p = 1.0;
  for (int k = 14; k >= 1; --k) p = 1.0 + r * p / static_cast<double>(k);
  return std::bit_cast<double>(std::bit_cast<std::uint64_t>(p) + (std::bit_cast<std::uint64_t>(shifted) << 52));
}

double log64(double x) {
  // x = m · 2^e with m in [sqrt(1/2), sqrt 2); log m = 2 · (s + s^3 / 3 + s^5 / 5 + ...), s = (m - 1) / (m + 1).
  double scale = 0.0;
  if (x < 0x1p-1022) {
    x = x * 0x1p54;
    scale = -54.0;
  }
  const auto bits = std::bit_cast<std::uint64_t>(x);
  double m = std::bit_cast<double>((bits & 0x000fffffffffffffu) | 0x3ff0000000000000u);
  double e = static_cast<double>(static_cast<std::int64_t>(bits >> 52) - 1023) + scale;
  if (m > 0x1.6a09e667f3bcdp+0) {
    m = m * 0.5;
    e = e + 1.0;
  }
  const double s = (m - 1.0) / (m + 1.0);
  const double t = s * s;
  double p = 0.0;
  for (int k = 12; k >= 0; --k) p = p * t + 1.0 / static_cast<double>(2 * k + 1);
  return e * 0x1.62e42fefa39efp-1 + 2.0 * s * p;
}

double pow64(double base, double exponent) { return exp64(exponent * log64(base)); }

double sin64(double x) {
  const Quarter q = reduce(x);
  const double value = q.quarter & 1u ? cosine_series(q.remainder) : sine_series(q.remainder);
  return q.quarter & 2u ? -value : value;
}

double cos64(double x) {
  const Quarter q = reduce(x);
  const double value = q.quarter & 1u ? sine_series(q.remainder) : cosine_series(q.remainder);
  return (q.quarter + 1u) & 2u ? -value : value;
}

}  // namespace par5::exact
