// docs/coder.md, section 2.
#include <algorithm>
#include <cmath>

#include "own_parts.h"

namespace reference {
namespace {

double exponential(double x) {
  const double s = x / 1024;
  double term = 1, sum = 1;
  for (int k = 1; k <= 14; ++k) {
    term = term * s / k;
    sum = sum + term;
  }
  for (int i = 0; i < 10; ++i) sum = sum * sum;
  return sum;
}
double logarithm(double x) {
  int e = 0;
  while (x >= 1.5) x = x / 2, ++e;
  while (x < 0.75) x = x * 2, --e;
  const double r = (x - 1) / (x + 1);
  double power = r, sum = 0;
  for (int k = 0; k < 20; ++k) {
    sum = sum + power / (2 * k + 1);
    power = power * (r * r);
  }
  return e * 0.69314718055994530942 + 2 * sum;
}
float interpolate(const std::vector<float>& table, float x) {
  const int i = static_cast<int>(x);
  const float f = x - static_cast<float>(i);
  const auto at = static_cast<std::size_t>(i);
  return table[at] + f * (table[at + 1] - table[at]);
}

}  // namespace

Tables::Tables() : tail(1026), log_tail(1026) {
  for (int i = 0; i < 4096; ++i) {
    const double p = (i + 0.5) / 4096;
    stretch.push_back(static_cast<float>(logarithm(p / (1 - p))));
  }
  for (int i = 0; i < 1538; ++i) squash.push_back(static_cast<float>(1 / (1 + exponential(-(i / 64.0 - 12)))));
  const auto f = [](double t) { return 0.39894228040143267794 * exponential(-t * t / 2); };
  const double h = 1.0 / 64;
  double sum = 0;
  for (int i = 1279; i >= 0; --i) {
    const double t = i * h - 8;
    sum = sum + (f(t) + 4 * f(t + h / 2) + f(t + h)) * h / 6;
    if (i >= 1026) continue;
    tail[static_cast<std::size_t>(i)] = static_cast<float>(sum);
    log_tail[static_cast<std::size_t>(i)] = static_cast<float>(logarithm(sum));
  }
  for (int i = 0; i <= 576; ++i) {
    const double d = std::ldexp(1 + i % 32 / 32.0, i / 32 - 12);
    odds.push_back(static_cast<float>(-logarithm(exponential(d) - 1)));
  }
  for (int n = 0; n < 1024; ++n) {
    rate.push_back(static_cast<float>(1 / (std::min(n + 1, 1023) + 0.7)));
    confidence.push_back(static_cast<float>(n / (n + 3.0)));
  }
}
const Tables& tables() {
  static const Tables made;
  return made;
}
float stretch(float p) {
  return tables().stretch[static_cast<std::size_t>(std::max(0, std::min(4095, static_cast<int>(p * 4096.0f))))];
}
float squash(float x) { return interpolate(tables().squash, (clamp(x, -12, 12) + 12.0f) * 64.0f); }
float tail(float t) { return interpolate(tables().tail, (clamp(t, -8, 8) + 8.0f) * 64.0f); }
float log_tail(float t) { return interpolate(tables().log_tail, (clamp(t, -8, 8) + 8.0f) * 64.0f); }
float odds(float d) {
  const std::int32_t b = bits_of(clamp(d, 1.0f / 4096, 63));
  const auto i = static_cast<std::size_t>((b - 115 * (1 << 23)) >> 18);
  const float f = static_cast<float>(b % (1 << 18)) * std::ldexp(1.0f, -18);
  return tables().odds[i] + f * (tables().odds[i + 1] - tables().odds[i]);
}

}  // namespace reference
