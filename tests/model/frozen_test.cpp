// Products with packed weights against LibTorch's own.
#include "model/frozen.h"

#include <ATen/Context.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <random>

namespace par5 {
namespace {

torch::Tensor random_matrix(std::int64_t rows, std::int64_t columns, unsigned seed) {
  torch::Tensor values = torch::empty({rows, columns});
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  for (std::int64_t i = 0; i < values.numel(); ++i) values.mutable_data_ptr<float>()[i] = normal(random);
  return values;
}

double largest_difference(const torch::Tensor& a, const torch::Tensor& b) { return (a - b).abs().max().item<double>(); }

TEST(FrozenWeights, ProductsAndGradientsAreThoseOfLinear) {
  if (!at::hasMKL()) GTEST_SKIP() << "LibTorch has no MKL here, so nothing is packed";
  for (const auto& [outputs, inputs] :
       std::vector<std::pair<std::int64_t, std::int64_t>>{{96, 48}, {48, 96}, {7, 5}, {1, 33}}) {
    const torch::Tensor weight = random_matrix(outputs, inputs, 1);
    FrozenWeights frozen;
    frozen.add(weight);
    ASSERT_TRUE(frozen.has(weight));
    // The first number of rows is what the weight is packed for.
    for (const std::int64_t count : {64, 64, 17, 64, 1}) {
      const torch::Tensor rows = random_matrix(count, inputs, static_cast<unsigned>(count)).requires_grad_();
      const torch::Tensor ours = frozen.linear(rows, weight), theirs = at::linear(rows, weight);
      const double tolerance = 1e-6 * static_cast<double>(inputs + outputs);
      EXPECT_LE(largest_difference(ours, theirs), tolerance);
      EXPECT_LE(largest_difference(frozen.product(rows.detach(), weight), theirs), tolerance);
      const torch::Tensor incoming = random_matrix(count, outputs, 9);
      const auto gradient = [&](const torch::Tensor& result) {
        return torch::autograd::grad({result}, {rows}, {incoming})[0];
      };
      EXPECT_LE(largest_difference(gradient(ours), gradient(theirs)), tolerance);
    }
  }
}

TEST(FrozenWeights, OnlyFloat32MatricesOfTheirOwnAreTaken) {
  FrozenWeights frozen;
  const torch::Tensor matrix = random_matrix(8, 8, 1);
  for (const torch::Tensor& other : {matrix.to(torch::kBFloat16), matrix.to(torch::kFloat64), matrix.t(), matrix[0]}) {
    frozen.add(other);
    EXPECT_FALSE(frozen.has(other));
  }
  EXPECT_FALSE(frozen.has(matrix));
}

}  // namespace
}  // namespace par5
