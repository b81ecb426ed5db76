#include "train/muon.h"

#include <ATen/ops/addmm.h>
#include <ATen/ops/mm.h>

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

// Blocks of rows in which half of a symmetric product is done: more save more operations, fewer keep the products
// large.
std::int64_t symmetric_blocks(std::int64_t rows) { return std::clamp<std::int64_t>(rows / 96, 1, 8); }

// beta · C + alpha · A·B, which is known to be symmetric: the blocks on and below the diagonal, and their mirror image.
// An undefined C is zero.
torch::Tensor symmetric_product(const torch::Tensor& a, const torch::Tensor& b, const torch::Tensor& c = {},
                                double beta = 0, double alpha = 1) {
  const std::int64_t rows = a.size(0), blocks = symmetric_blocks(rows);
  torch::Tensor product = torch::empty({rows, rows}, a.options());
  for (std::int64_t block = 0; block < blocks; ++block) {
    const std::int64_t begin = rows * block / blocks, end = rows * (block + 1) / blocks, count = end - begin;
    torch::Tensor out = product.narrow(0, begin, count).narrow(1, 0, end);
    const torch::Tensor left = a.narrow(0, begin, count), right = b.narrow(1, 0, end);
    if (c.defined())
      at::addmm_out(out, c.narrow(0, begin, count).narrow(1, 0, end), left, right, beta, alpha);
    else
      at::mm_out(out, left, right);
    if (begin > 0) product.narrow(0, 0, begin).narrow(1, begin, count).copy_(out.narrow(1, 0, begin).t());
  }
  return product;
}

// After so many steps on a Gram matrix X is multiplied, and the Gram matrix taken anew: the squares of small singular
// values, lost in it beside the largest, have grown by then.
constexpr std::int64_t kGramSteps = 3;

// P = aI + bA + cA² of every step commutes with A, so that after it A is P·A·P and the product of all P so far is one
// symmetric matrix; so are the products on the way, of which one half is enough.
torch::Tensor gram_form(torch::Tensor x, const NewtonSchulz& options) {
  for (std::int64_t first = 0; first < options.iterations; first += kGramSteps) {
    const std::int64_t end = std::min(first + kGramSteps, options.iterations);
    torch::Tensor square = symmetric_product(x, x.t()), product;
    for (std::int64_t i = first; i < end; ++i) {
      const auto [a, b, c] = triple(options.coefficients, i);
      torch::Tensor polynomial = symmetric_product(square, square, square, /*beta=*/b, /*alpha=*/c);
      polynomial.diagonal().add_(a);
      product = product.defined() ? symmetric_product(polynomial, product) : polynomial;
      if (i + 1 < end) square = symmetric_product(polynomial, symmetric_product(square, polynomial));
    }
    x = torch::mm(product, x);
  }
  return x;
}

// FLOPs of both forms by the products that they do; `rows` is the smaller side.
struct FormFlops {
  double plain = 0, gram = 0;
};
FormFlops form_flops(std::int64_t rows, std::int64_t columns, std::int64_t iterations) {
  const auto small = static_cast<double>(rows), steps = static_cast<double>(iterations);
  const auto segments = static_cast<double>((iterations + kGramSteps - 1) / kGramSteps);
  const auto blocks = static_cast<double>(symmetric_blocks(rows));
  const double square = 2 * small * small * small, wide = 2 * small * small * static_cast<double>(columns);
  const double half = (blocks + 1) / (2 * blocks);
  return {steps * (2 * wide + square), segments * (1 + half) * wide + half * (steps + 3 * (steps - segments)) * square};
}

bool takes_gram_form(std::int64_t rows, std::int64_t columns, const NewtonSchulz& options) {
  // Squares can have singular values whose squares are lost beside the largest; wide matrices hardly do.
  const FormFlops flops = form_flops(rows, columns, options.iterations);
  return options.form == MuonForm::gram && 2 * columns >= 3 * rows && flops.gram <= flops.plain;
}

}  // namespace

double newton_schulz_flops(std::int64_t rows, std::int64_t columns, const NewtonSchulz& options) {
  const auto [small, large] = std::minmax(rows, columns);
  const FormFlops flops = form_flops(small, large, options.iterations);
  return takes_gram_form(small, large, options) ? flops.gram : flops.plain;
}

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
  const bool gram = takes_gram_form(x.size(0), x.size(1), options);
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
