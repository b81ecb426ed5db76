#include "eval/paired.h"

#include <gtest/gtest.h>

#include <cmath>

namespace par5 {
namespace {

// Three documents of 3, 2 and 3 targets; a BOS is charged nothing, every other token 2 bytes.
EvalData three_documents() {
  EvalData data;
  data.tokens = {1, 5, 5, 1, 5, 1, 5, 5, 5};
  data.token_bytes.bytes = {0, 0, 2, 2, 2, 2};
  data.token_bytes.leading_space.assign(6, 0);
  data.token_bytes.boundary = {1, 1, 0, 0, 0, 0};
  return data;
}

TEST(PairedDifference, IsTheRatioEstimatorByDocument) {
  const EvalData data = three_documents();
  // In units of 2^-22 bits.
  std::vector<std::uint32_t> a, b;
  for (const double bits : {1., 2., 3., 4., 5., 6., 7., 8.}) a.push_back(static_cast<std::uint32_t>(bits * 0x1p22));
  for (const double bits : {1.5, 2., 3., 3., 5.5, 6., 7., 6.}) b.push_back(static_cast<std::uint32_t>(bits * 0x1p22));
  const auto paired = paired_difference(a, b, data);
  ASSERT_TRUE(paired);
  // Bits of difference by document: -0.5, 0.5 and 2; bytes: 4, 2, 6.
  const double ratio = 2.0 / 12;
  EXPECT_NEAR(paired->bpb, ratio, 1e-12);
  const double residuals[] = {-0.5 - 4 * ratio, 0.5 - 2 * ratio, 2 - 6 * ratio};
  double squares = 0;
  for (const double residual : residuals) squares += residual * residual;
  const double margin = 1.96 * std::sqrt(1.5 * squares) / 12;
  EXPECT_NEAR(paired->low, ratio - margin, 1e-12);
  EXPECT_NEAR(paired->high, ratio + margin, 1e-12);
  EXPECT_EQ(paired->documents, 3);
}

TEST(PairedDifference, NeedsTwoDocumentsAndTheSameTargets) {
  EvalData data = three_documents();
  EXPECT_FALSE(paired_difference(std::vector<std::uint32_t>(2, 1), std::vector<std::uint32_t>(2, 1), data));
  EXPECT_FALSE(paired_difference(std::vector<std::uint32_t>(8, 1), std::vector<std::uint32_t>(7, 1), data));
  const auto equal = paired_difference(std::vector<std::uint32_t>(8, 1), std::vector<std::uint32_t>(8, 1), data);
  ASSERT_TRUE(equal);
  EXPECT_EQ(equal->bpb, 0);
  EXPECT_EQ(equal->low, 0);
}

}  // namespace
}  // namespace par5
