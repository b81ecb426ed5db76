// Held to published tables and to closed forms.
#include "budgets/significance.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace par5 {
namespace {

TEST(Significance, StudentsDistributionHasKnownValues) {
  // Degrees 1 and 2 have closed forms.
  for (const double t : {-40.0, -3.0, -0.7, 0.0, 0.1, 1.0, 6.3138, 1e3}) {
    EXPECT_NEAR(student_t_cdf(t, 1), 0.5 + std::atan(t) / std::acos(-1.0), 1e-13) << t;
    EXPECT_NEAR(student_t_cdf(t, 2), 0.5 + t / (2 * std::sqrt(2 + t * t)), 1e-13) << t;
  }
  // The usual table of one-sided quantiles.
  EXPECT_NEAR(student_t_cdf(2.919985580, 2), 0.95, 1e-9);
  EXPECT_NEAR(student_t_cdf(4.604094871, 4), 0.995, 1e-9);
  EXPECT_NEAR(student_t_cdf(2.228138852, 10), 0.975, 1e-9);
  EXPECT_NEAR(student_t_cdf(1.960, 1e7), 0.975, 3e-6);
  EXPECT_NEAR(student_t_cdf(-2.845339710, 20), 0.005, 1e-9);
}

TEST(Significance, TheIncompleteBetaFunction) {
  EXPECT_NEAR(incomplete_beta(1, 1, 0.3), 0.3, 1e-14);
  EXPECT_NEAR(incomplete_beta(2, 3, 0.4), 0.5248, 1e-13);        // 6x² - 8x³ + 3x⁴
  EXPECT_NEAR(incomplete_beta(0.5, 0.5, 0.25), 1.0 / 3, 1e-13);  // 2/π · asin(√x)
  EXPECT_NEAR(incomplete_beta(5, 2, 0.9) + incomplete_beta(2, 5, 0.1), 1.0, 1e-13);
  EXPECT_EQ(incomplete_beta(2, 2, 0), 0);
  EXPECT_EQ(incomplete_beta(2, 2, 1), 1);
}

TEST(Significance, WelchOnAnExampleFromTheLiterature) {
  // Welch's test on the two samples of Wikipedia's first example: t = -2.46, 24.99 degrees of freedom, p = 0.021.
  const std::vector<double> a = {27.5, 21.0, 19.0, 23.6, 17.0, 17.9, 16.9, 20.1,
                                 21.9, 22.6, 23.1, 19.6, 19.0, 21.7, 21.4};
  const std::vector<double> b = {27.1, 22.0, 20.8, 23.4, 23.4, 23.5, 25.8, 22.0,
                                 24.8, 20.2, 21.9, 22.1, 22.9, 20.5, 24.4};
  const auto test = welch_test(describe_sample(a), describe_sample(b));
  ASSERT_TRUE(test);
  EXPECT_NEAR(test->t, -2.46, 0.005);
  EXPECT_NEAR(test->degrees, 24.99, 0.005);
  EXPECT_NEAR(test->p_two_sided, 0.021, 0.0005);
  EXPECT_NEAR(test->p_less, test->p_two_sided / 2, 1e-15);
}

TEST(Significance, AMarginMovesTheNullHypothesis) {
  const std::vector<double> a = {1.00, 1.01, 0.99}, b = {1.10, 1.11, 1.09};
  const auto plain = welch_test(describe_sample(a), describe_sample(b));
  const auto same = welch_test(describe_sample(a), describe_sample(b), -0.1);
  ASSERT_TRUE(plain && same);
  EXPECT_LT(plain->p_less, 0.001);
  EXPECT_NEAR(same->p_less, 0.5, 1e-6);
  EXPECT_NEAR(plain->difference, -0.1, 1e-12);
  // 95 %: t(0.975, 4) = 2.776 times the standard error.
  EXPECT_NEAR(plain->half_width_95, 2.7764 * std::sqrt(2 * 1e-4 / 3), 1e-6);
}

TEST(Significance, PairsAndSingleValues) {
  const std::vector<double> a = {1.1, 1.2, 1.3, 1.4}, b = {1.2, 1.31, 1.39, 1.5};
  const auto paired = paired_test(a, b);
  ASSERT_TRUE(paired);
  EXPECT_NEAR(paired->difference, -0.1, 1e-12);
  EXPECT_NEAR(paired->degrees, 3, 0);
  EXPECT_NEAR(paired->t, -0.1 / (std::sqrt(0.0002 / 3) / 2), 1e-6);
  EXPECT_FALSE(paired_test(std::span(a).first(1), std::span(b).first(1)));
  EXPECT_FALSE(paired_test(a, std::span(b).first(3)));
  const std::vector<double> one = {1.25}, other = {1.3};
  EXPECT_FALSE(welch_test(describe_sample(one), describe_sample(other)));
  const auto against_one = welch_test(describe_sample(a), describe_sample(one));
  ASSERT_TRUE(against_one);
  EXPECT_EQ(against_one->degrees, 3);
  EXPECT_NEAR(against_one->p_two_sided, 1, 1e-12);
}

TEST(Significance, NoSpreadIsNoDivisionByZero) {
  const std::vector<double> a = {1.0, 1.0}, b = {1.5, 1.5};
  EXPECT_EQ(welch_test(describe_sample(a), describe_sample(b))->p_less, 0);
  EXPECT_EQ(welch_test(describe_sample(b), describe_sample(a))->p_less, 1);
  EXPECT_EQ(welch_test(describe_sample(a), describe_sample(a))->p_two_sided, 1);
}

}  // namespace
}  // namespace par5
