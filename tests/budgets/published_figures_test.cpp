#include "bench/published_figures.h"

#include <gtest/gtest.h>

namespace par5 {
namespace {

TEST(PublishedFigures, AreDerivedToTheDigitsPrinted) {
  const auto figures = bench::published_figures();
  EXPECT_GE(figures.size(), 30u);
  for (const bench::PublishedFigure& figure : figures)
    EXPECT_TRUE(figure.agrees()) << figure.what << ": printed " << figure.printed << ", derived " << figure.derived;
}

TEST(Denominator, BackSolvedWithinTheDigits) {
  // Exact numbers, printed shorter and shorter: the interval holds the truth and widens.
  const double bytes_per_token = 151074499.0 / 47851520, bpb = 1.06128183,
               loss = bpb * bytes_per_token * std::numbers::ln2;
  double width = 0;
  for (const int digits : {8, 6, 4}) {
    const double unit = std::pow(10.0, digits);
    const Denominator solved =
        back_solve({std::round(loss * unit) / unit, digits}, {std::round(bpb * unit) / unit, digits});
    EXPECT_LE(solved.lowest, bytes_per_token);
    EXPECT_GE(solved.highest, bytes_per_token);
    EXPECT_GT(solved.highest - solved.lowest, width);
    width = solved.highest - solved.lowest;
    // With 8 digits the byte count is known to a few bytes.
    if (digits == 8) {
      EXPECT_NEAR(solved.bytes_per_token * 47851520, 151074499, 2);
    }
    const auto registry = load_registry();
    const DenominatorMatch match = match_denominator(solved, *registry);
    ASSERT_EQ(match.known.size(), 1u);
    EXPECT_EQ(match.known[0]->name, "SP8192 CaseOps");
  }
  // The published log: seed 42 of #1855's successor, as printed.
  const Denominator printed = back_solve({2.32247803, 8}, {1.06128183, 8});
  EXPECT_NEAR(printed.bytes_per_token * 47851520, 151074499, 2);
}

}  // namespace
}  // namespace par5
