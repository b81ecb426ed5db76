// Tests on scores of several runs: Welch's and the paired t test, against any margin.
#pragma once

#include <optional>
#include <span>

namespace par5 {

// I_x(a, b), the regularised incomplete beta function; a, b > 0, 0 <= x <= 1. Continued fraction (Numerical
// Recipes, 6.4), relative error below 1e-12.
double incomplete_beta(double a, double b, double x);
// P(T <= t) of Student's distribution with `degrees` > 0 degrees of freedom (not necessarily whole).
double student_t_cdf(double t, double degrees);

struct Sample {
  std::size_t n = 0;
  double mean = 0;
  double std = 0;  // n - 1 in the denominator; 0 for n = 1
  double lowest = 0, highest = 0;
};
Sample describe_sample(std::span<const double> values);

struct TTest {
  double difference = 0;  // mean of the first minus mean of the second
  double t = 0;           // of difference - margin
  double degrees = 0;
  double p_two_sided = 1;
  double p_less = 1;         // against "difference >= margin": small where the first is lower by more than the margin
  double half_width_95 = 0;  // of the 95 % confidence interval of the difference
};

// Welch's test of two independent samples. A single value on one side is taken as exact, which makes it the one-sample
// test. Nothing where no spread is known (both single). Samples without any spread give p = 0, 0.5 (one-sided) or 1.
std::optional<TTest> welch_test(const Sample& first, const Sample& second, double margin = 0);
// The test of differences first[i] - second[i]; nothing for fewer than two pairs.
std::optional<TTest> paired_test(std::span<const double> first, std::span<const double> second, double margin = 0);

}  // namespace par5
