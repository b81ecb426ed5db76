#include "budgets/significance.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

namespace par5 {
namespace {

// Lentz's method for the continued fraction of the incomplete beta function; converges fast for x < (a + 1) / (a + b +
// 2).
double beta_fraction(double a, double b, double x) {
  constexpr double kTiny = 1e-300, kEnough = 1e-15;
  const auto safe = [](double value) { return std::fabs(value) < kTiny ? kTiny : value; };
  double c = 1, d = 1 / safe(1 - (a + b) * x / (a + 1)), product = d;
  for (int m = 1; m <= 10'000; ++m) {
    const double even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
    d = 1 / safe(1 + even * d);
    c = safe(1 + even / c);
    product *= d * c;
    const double odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
    d = 1 / safe(1 + odd * d);
    c = safe(1 + odd / c);
    product *= d * c;
    if (std::fabs(d * c - 1) < kEnough) break;
  }
  return product;
}

// t with P(|T| <= t) = 0.95, by bisection.
double t_quantile_95(double degrees) {
  double low = 0, high = 1e4;
  for (int i = 0; i < 100; ++i) {
    const double middle = (low + high) / 2;
    (student_t_cdf(middle, degrees) < 0.975 ? low : high) = middle;
  }
  return high;
}

TTest t_test(double difference, double standard_error, double degrees, double margin) {
  TTest test;
  test.difference = difference;
  test.degrees = degrees;
  const double distance = difference - margin;
  if (standard_error > 0)
    test.t = distance / standard_error;
  else
    test.t = distance == 0 ? 0 : std::copysign(std::numeric_limits<double>::infinity(), distance);
  test.p_less = student_t_cdf(test.t, degrees);
  test.p_two_sided = 2 * std::min(test.p_less, student_t_cdf(-test.t, degrees));
  test.half_width_95 = standard_error > 0 ? t_quantile_95(degrees) * standard_error : 0;
  return test;
}

}  // namespace

double incomplete_beta(double a, double b, double x) {
  if (x <= 0) return 0;
  if (x >= 1) return 1;
  const double front =
      std::exp(std::lgamma(a + b) - std::lgamma(a) - std::lgamma(b) + a * std::log(x) + b * std::log1p(-x));
  return x < (a + 1) / (a + b + 2) ? front * beta_fraction(a, b, x) / a : 1 - front * beta_fraction(b, a, 1 - x) / b;
}

double student_t_cdf(double t, double degrees) {
  if (std::isinf(t)) return t < 0 ? 0 : 1;
  const double tail = incomplete_beta(degrees / 2, 0.5, degrees / (degrees + t * t)) / 2;
  return t < 0 ? tail : 1 - tail;
}

Sample describe_sample(std::span<const double> values) {
  Sample sample;
  sample.n = values.size();
  if (values.empty()) return sample;
  for (const double value : values) sample.mean += value;
  sample.mean /= static_cast<double>(values.size());
  double squares = 0;
  for (const double value : values) squares += (value - sample.mean) * (value - sample.mean);
  if (values.size() > 1) sample.std = std::sqrt(squares / static_cast<double>(values.size() - 1));
  sample.lowest = *std::min_element(values.begin(), values.end());
  sample.highest = *std::max_element(values.begin(), values.end());
  return sample;
}

std::optional<TTest> welch_test(const Sample& first, const Sample& second, double margin) {
  if (first.n == 0 || second.n == 0 || (first.n == 1 && second.n == 1)) return std::nullopt;
  const auto variance = [](const Sample& sample) {
    return sample.n > 1 ? sample.std * sample.std / static_cast<double>(sample.n) : 0.0;
  };
  const double a = variance(first), b = variance(second);
  const auto term = [](double v, const Sample& sample) {
    return sample.n > 1 ? v * v / static_cast<double>(sample.n - 1) : 0.0;
  };
  const double below = term(a, first) + term(b, second);
  // Without any spread Welch's formula is 0 / 0; the pooled degrees of freedom stand in, and t is 0 or infinite anyhow.
  const double degrees =
      below > 0 ? (a + b) * (a + b) / below : static_cast<double>(std::max<std::size_t>(1, first.n + second.n - 2));
  return t_test(first.mean - second.mean, std::sqrt(a + b), degrees, margin);
}

std::optional<TTest> paired_test(std::span<const double> first, std::span<const double> second, double margin) {
  if (first.size() != second.size() || first.size() < 2) return std::nullopt;
  std::vector<double> differences;
  for (std::size_t i = 0; i < first.size(); ++i) differences.push_back(first[i] - second[i]);
  const Sample sample = describe_sample(differences);
  return t_test(sample.mean, sample.std / std::sqrt(static_cast<double>(sample.n)), static_cast<double>(sample.n - 1),
                margin);
}

}  // namespace par5
