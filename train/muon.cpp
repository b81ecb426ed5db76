#include "train/muon.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace par5 {
namespace {

using Triple = std::array<double, 3>;

constexpr Triple kQuintic = {3.4445, -4.7750, 2.0315};
// modded-nanogpt's values for five steps with the safety factor 1.02.
constexpr std::array<Triple, 5> kPolarExpress = {{{8.15655, -22.48329, 15.87877},
                                                  {4.04293, -2.80892, 0.50002},
                                                  {3.89167, -2.77248, 0.50606},
                                                  {3.28575, -2.36813, 0.46449},
                                                  {2.34654, -1.70978, 0.42324}}};
constexpr double kPolarExpressSafety = 1.02;

const Triple& triple(MuonCoefficients coefficients, std::int64_t iteration) {
  if (coefficients == MuonCoefficients::quintic) return kQuintic;
  return kPolarExpress[static_cast<std::size_t>(std::min<std::int64_t>(iteration, 4))];
}

torch::Tensor plain_form(torch::Tensor x, const NewtonSchulz& options) {
  for (std::int64_t i = 0; i < options.iterations; ++i) {
    const auto [a, b, c] = triple(options.coefficients, i);
    const torch::Tensor square = torch::mm(x, x.t());
    const torch::Tensor polynomial = torch::addmm(square, square, square, /*beta=*/b, /*alpha=*/c);
    x = torch::addmm(x, polynomial, x, /*beta=*/a, /*alpha=*/1.0);
  }
  return x;
}

// P = aI + bA + cA² of every step commutes with A, so that after it A is P·A·P and the product of all P so far is one
// symmetric matrix.
torch::Tensor gram_form(const torch::Tensor& x, const NewtonSchulz& options) {
  torch::Tensor square = torch::mm(x, x.t()), product;
  for (std::int64_t i = 0; i < options.iterations; ++i) {
    const auto [a, b, c] = triple(options.coefficients, i);
    torch::Tensor polynomial = torch::addmm(square, square, square, /*beta=*/b, /*alpha=*/c);
    polynomial.diagonal().add_(a);
    product = product.defined() ? torch::mm(polynomial, product) : polynomial;
    if (i + 1 < options.iterations) square = torch::mm(polynomial, torch::mm(square, polynomial));
  }
  return torch::mm(product, x);
}

}  // namespace

torch::Tensor normalize_rows(const torch::Tensor& matrix) {
  const torch::Tensor rows = matrix.to(torch::kFloat32);
  return rows * torch::rsqrt(rows.square().mean(1, /*keepdim=*/true) + std::ldexp(1.0, -23));
}

torch::Tensor newton_schulz(const torch::Tensor& matrix, const NewtonSchulz& options) {
  const bool tall = matrix.size(0) > matrix.size(1);
  const torch::ScalarType wide = options.type == torch::kFloat64 ? torch::kFloat64 : torch::kFloat32;
  torch::Tensor x = matrix.to(wide);
  // The smaller side goes first, so that A = XXᵀ is the smaller of the two squares.
  if (tall) x = x.t();
  const double safety = options.coefficients == MuonCoefficients::polar_express ? kPolarExpressSafety : 1.0;
  x = (x / (x.norm() * safety + 1e-7)).contiguous();
  const bool gram = options.form == MuonForm::gram && 2 * x.size(1) >= 3 * x.size(0);
  x = gram ? gram_form(x, options) : plain_form(x.to(options.type), options);
  return (tall ? x.t() : x).to(wide);
}

torch::Tensor normalize_neurons(const torch::Tensor& direction, torch::Tensor row_moments, double beta2) {
  row_moments.mul_(beta2).add_(direction.square().mean(1, /*keepdim=*/true), 1.0 - beta2);
  const torch::Tensor scaled = direction * (row_moments + 1e-10).rsqrt();
  return scaled * (direction.norm() / (scaled.norm() + 1e-10));
}

double muon_scale(std::int64_t rows, std::int64_t columns) {
  return std::sqrt(std::max(1.0, static_cast<double>(rows) / static_cast<double>(columns)));
}

}  // namespace par5
