#include "train/muon.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <vector>

namespace par5 {
namespace {

torch::Tensor gaussian(std::int64_t rows, std::int64_t columns, std::uint64_t seed) {
  auto generator = at::make_generator<at::CPUGeneratorImpl>(seed);
  return torch::randn({rows, columns}, generator, torch::kFloat64);
}

double cosine(const torch::Tensor& a, const torch::Tensor& b) {
  const torch::Tensor x = a.to(torch::kFloat64), y = b.to(torch::kFloat64);
  return ((x * y).sum() / (x.norm() * y.norm())).item<double>();
}

// The iteration acts on singular values alone: U · p(S) · Vᵀ in float64, with the polynomials written out here.
torch::Tensor by_singular_values(const torch::Tensor& matrix, const NewtonSchulz& options) {
  const std::vector<std::array<double, 3>> polar = {{8.15655, -22.48329, 15.87877},
                                                    {4.04293, -2.80892, 0.50002},
                                                    {3.89167, -2.77248, 0.50606},
                                                    {3.28575, -2.36813, 0.46449},
                                                    {2.34654, -1.70978, 0.42324}};
  const bool quintic = options.coefficients == MuonCoefficients::quintic;
  const auto [u, singular, vh] = at::linalg_svd(matrix.to(torch::kFloat64), /*full_matrices=*/false);
  torch::Tensor s = singular / (matrix.to(torch::kFloat64).norm() * (quintic ? 1.0 : 1.02) + 1e-7);
  for (std::int64_t i = 0; i < options.iterations; ++i) {
    const std::array<double, 3> t = quintic ? std::array<double, 3>{3.4445, -4.7750, 2.0315}
                                            : polar[static_cast<std::size_t>(std::min<std::int64_t>(i, 4))];
    s = t[0] * s + t[1] * s.pow(3) + t[2] * s.pow(5);
  }
  return torch::mm(u * s, vh);
}

torch::Tensor polar_factor(const torch::Tensor& matrix) {
  const auto [u, s, vh] = at::linalg_svd(matrix.to(torch::kFloat64), false);
  return torch::mm(u, vh);
}

TEST(Muon, IterationIsThePolynomialOfTheSingularValues) {
  for (const auto& [rows, columns] : {std::pair{24, 24}, {16, 48}, {48, 16}, {1, 7}, {5, 1}})
    for (const auto coefficients : {MuonCoefficients::quintic, MuonCoefficients::polar_express})
      for (const std::int64_t iterations : {1, 2, 3, 5, 7}) {
        const torch::Tensor matrix = gaussian(rows, columns, 7);
        const NewtonSchulz options{coefficients, iterations, torch::kFloat32};
        const torch::Tensor result = newton_schulz(matrix, options), reference = by_singular_values(matrix, options);
        ASSERT_EQ(result.sizes(), matrix.sizes());
        ASSERT_EQ(result.scalar_type(), torch::kFloat32);
        EXPECT_LT(((result.to(torch::kFloat64) - reference).norm() / reference.norm()).item<double>(), 1e-4)
            << rows << "x" << columns << " iterations " << iterations;
      }
}

TEST(Muon, DirectionIsNearTheExactPolarFactor) {
  const torch::Tensor wide = gaussian(32, 128, 3), square = gaussian(48, 48, 4);
  EXPECT_GT(cosine(newton_schulz(wide, {MuonCoefficients::quintic, 5, torch::kFloat32}), polar_factor(wide)), 0.98);
  EXPECT_GT(cosine(newton_schulz(wide, {MuonCoefficients::polar_express, 5, torch::kFloat32}), polar_factor(wide)),
            0.99);
  EXPECT_GT(cosine(newton_schulz(square, {MuonCoefficients::quintic, 10, torch::kFloat32}), polar_factor(square)),
            0.97);
  EXPECT_GT(cosine(newton_schulz(square, {MuonCoefficients::polar_express, 5, torch::kFloat32}), polar_factor(square)),
            0.98);
}

TEST(Muon, Bfloat16FollowsFloat32) {
  const torch::Tensor matrix = gaussian(64, 192, 5);
  for (const auto coefficients : {MuonCoefficients::quintic, MuonCoefficients::polar_express})
    EXPECT_GT(cosine(newton_schulz(matrix, {coefficients, 5, torch::kBFloat16}),
                     newton_schulz(matrix, {coefficients, 5, torch::kFloat32})),
              0.999);
}

// Gradients of low rank are what training meets; the Gram form must not lose their small singular values.
torch::Tensor low_rank(std::int64_t rows, std::int64_t columns, std::int64_t rank) {
  return torch::mm(gaussian(rows, rank, 21), gaussian(rank, columns, 22)) + 1e-3 * gaussian(rows, columns, 23);
}

TEST(Muon, GramFormIsTheSameFunction) {
  for (const torch::Tensor& matrix : {gaussian(96, 384, 5), gaussian(384, 96, 6), low_rank(96, 384, 8),
                                      gaussian(64, 64, 7), gaussian(200, 500, 8), low_rank(500, 200, 8)})
    for (const auto coefficients : {MuonCoefficients::quintic, MuonCoefficients::polar_express})
      for (const std::int64_t iterations : {1, 2, 3, 5, 7}) {
        const torch::Tensor exact = newton_schulz(matrix, {coefficients, iterations, torch::kFloat64, MuonForm::plain});
        const torch::Tensor gram = newton_schulz(matrix, {coefficients, iterations, torch::kFloat32, MuonForm::gram});
        EXPECT_GT(cosine(gram, exact), 0.99999) << iterations;
        EXPECT_NEAR((gram.norm() / exact.norm()).item<double>(), 1.0, 1e-3) << iterations;
      }
}

// Nearer to float64 than plain bfloat16 by far, also where that fails on a gradient of low rank.
TEST(Muon, IntegerProductsAreNearerThanBfloat16) {
  for (const torch::Tensor& matrix :
       {gaussian(96, 384, 5), gaussian(384, 96, 6), low_rank(96, 384, 8), gaussian(64, 64, 7), gaussian(200, 500, 8),
        low_rank(500, 200, 8), gaussian(256, 256, 9), low_rank(256, 256, 8), gaussian(401, 803, 10)})
    for (const auto coefficients : {MuonCoefficients::quintic, MuonCoefficients::polar_express})
      for (const std::int64_t iterations : {1, 3, 5}) {
        const torch::Tensor exact = newton_schulz(matrix, {coefficients, iterations, torch::kFloat64, MuonForm::plain});
        const double bfloat16 =
            cosine(newton_schulz(matrix, {coefficients, iterations, torch::kBFloat16, MuonForm::plain}), exact);
        for (const auto form : {MuonForm::plain, MuonForm::gram}) {
          const torch::Tensor ours =
              newton_schulz(matrix, {coefficients, iterations, torch::kFloat32, form, MuonProducts::int16});
          EXPECT_GT(cosine(ours, exact), 0.9999) << iterations;
          EXPECT_LT(1 - cosine(ours, exact), 0.1 * (1 - bfloat16)) << iterations;
          EXPECT_NEAR((ours.norm() / exact.norm()).item<double>(), 1.0, 1e-3) << iterations;
        }
      }
}

TEST(Muon, GramFormIsTakenWhereItIsLessWork) {
  const NewtonSchulz plain{MuonCoefficients::quintic, 3, torch::kFloat32, MuonForm::plain},
      gram{MuonCoefficients::quintic, 3, torch::kFloat32, MuonForm::gram};
  // Per step two products with the wide matrix and one square.
  EXPECT_DOUBLE_EQ(newton_schulz_flops(10, 40, plain), 3 * (2 * 2 * 10 * 10 * 40 + 2 * 10 * 10 * 10));
  EXPECT_DOUBLE_EQ(newton_schulz_flops(40, 10, plain), newton_schulz_flops(10, 40, plain));
  EXPECT_LT(newton_schulz_flops(576, 2304, gram), 0.45 * newton_schulz_flops(576, 2304, plain));
  EXPECT_DOUBLE_EQ(newton_schulz_flops(576, 576, gram), newton_schulz_flops(576, 576, plain)) << "a square";
}

TEST(Muon, NeuronsShareTheUpdateEvenlyAndKeepItsNorm) {
  const torch::Tensor direction =
      (gaussian(6, 40, 9) * torch::arange(1, 7).to(torch::kFloat64).unsqueeze(1)).to(torch::kFloat32);
  torch::Tensor moments = torch::zeros({6, 1});
  const torch::Tensor first = normalize_neurons(direction, moments, 0.9);
  EXPECT_NEAR((first.norm() / direction.norm()).item<double>(), 1.0, 1e-5);
  const torch::Tensor norms = first.norm(2, 1);
  EXPECT_NEAR((norms.max() / norms.min()).item<double>(), 1.0, 1e-4) << "rows of a first update are all alike";
  EXPECT_LT((moments.squeeze(1) - 0.1 * direction.square().mean(1)).abs().max().item<double>(), 1e-5);
  // The running mean square: 0.9 of the old one, 0.1 of the new.
  (void)normalize_neurons(2 * direction, moments, 0.9);
  EXPECT_LT((moments.squeeze(1) - (0.09 + 0.4) * direction.square().mean(1)).abs().max().item<double>(), 1e-4);
}

TEST(Muon, ZeroGradientGivesZero) {
  const torch::Tensor zero = torch::zeros({8, 4});
  for (const MuonProducts products : {MuonProducts::floating, MuonProducts::int16}) {
    NewtonSchulz options;
    options.products = products;
    const torch::Tensor direction = nesterov_direction(zero, torch::zeros({8, 4}), 0.9, /*row_norm=*/true);
    EXPECT_EQ(newton_schulz(direction, options).abs().max().item<float>(), 0.0f);
  }
}

// The fused kernel (float32) and the operations (float64) after several steps.
TEST(Muon, DirectionFollowsNesterovsMomentum) {
  for (const bool row_norm : {false, true})
    for (const std::int64_t columns : {1, 7, 16, 40}) {
      torch::Tensor fused = torch::zeros({6, columns}), plain = torch::zeros({6, columns}, torch::kFloat64);
      for (const std::uint64_t seed : {1, 2, 3}) {
        const torch::Tensor gradient =
            gaussian(6, columns, seed) * torch::arange(0, 6).to(torch::kFloat64).unsqueeze(1);
        const torch::Tensor ours = nesterov_direction(gradient.to(torch::kFloat32), fused, 0.9, row_norm),
                            reference = nesterov_direction(gradient, plain, 0.9, row_norm);
        EXPECT_LT((ours - reference).abs().max().item<double>(), 2e-6 * reference.abs().max().item<double>());
        if (row_norm) {
          EXPECT_LT((ours.narrow(0, 1, 5).square().mean(1).sqrt() - 1).abs().max().item<double>(), 1e-4);
        }
      }
      EXPECT_LT((fused - plain).abs().max().item<double>(), 1e-5);
    }
}

TEST(Muon, ScaleGrowsWithTallMatricesOnly) {
  EXPECT_DOUBLE_EQ(muon_scale(576, 576), 1.0);
  EXPECT_DOUBLE_EQ(muon_scale(576, 2304), 1.0);
  EXPECT_DOUBLE_EQ(muon_scale(2304, 576), 2.0);
}

}  // namespace
}  // namespace par5
