// Products in 8-bit integers against float32 and double ones: exact where nothing is rounded, near where something is,
// and the same bits from the portable and the AVX-512 form on any number of threads.
#include "model/integer_linear.h"

#include <gtest/gtest.h>

#include <limits>
#include <tuple>

#include "pack/quantizer.h"

namespace par5 {
namespace {

using torch::Tensor;

struct Size {
  std::int64_t rows, outputs, inputs, group;
};
const Size kSizes[] = {{1, 1, 1, 1},     {5, 3, 7, 7},        {37, 70, 45, 20},
                       {64, 64, 64, 16}, {131, 130, 192, 64}, {300, 65, 514, 128}};

double relative(const Tensor& ours, const Tensor& exact) {
  return ((ours.to(torch::kFloat64) - exact).norm() / exact.norm().clamp_min(1e-30)).item<double>();
}

// Quinary weights with a scale per group of inputs.
Tensor quinary(const Size& size) {
  const Tensor codes = torch::randint(-2, 3, {size.outputs, size.inputs}).to(torch::kFloat32);
  const std::int64_t groups = (size.inputs + size.group - 1) / size.group;
  const Tensor scales = torch::rand({size.outputs, groups}) + 0.1;
  return codes * scales.repeat_interleave(size.group, 1).narrow(1, 0, size.inputs);
}

struct Outcome {
  Tensor product, to_rows, to_weight;
};
Outcome run(const Tensor& rows, const Tensor& weight, const Tensor& incoming, const IntegerProducts& products) {
  const Tensor x = rows.clone().requires_grad_(), w = weight.clone().requires_grad_();
  const Tensor y = integer_linear(x, w, products);
  y.backward(incoming);
  return {y.detach(), x.grad(), w.grad()};
}

TEST(IntegerLinear, IsExactForWholeNumbers) {
  torch::manual_seed(1);
  for (const Size& size : kSizes) {
    // Every row and every column of every group of tokens holds 127, so that no rounding has anything to do.
    const auto whole = [](std::int64_t n, std::int64_t m) {
      Tensor values = torch::randint(-127, 128, {n, m}).to(torch::kFloat32);
      values.select(1, 0).fill_(127);
      values.select(0, 0).fill_(-127);
      return values;
    };
    const Tensor rows = whole(size.rows, size.inputs), weight = quinary(size);
    const IntegerProducts products{size.group, 126};
    const Outcome ours = run(rows, weight, torch::randn({size.rows, size.outputs}), products);
    const Tensor exact = rows.to(torch::kFloat64).mm(weight.t().to(torch::kFloat64));
    EXPECT_LE((ours.product - exact).abs().max().item<double>(), 2e-6 * exact.abs().max().item<double>())
        << size.outputs;
  }
}

TEST(IntegerLinear, IsNearFloatProducts) {
  torch::manual_seed(2);
  for (const Size& size : kSizes) {
    const Tensor rows = torch::randn({size.rows, size.inputs}), weight = quinary(size),
                 incoming = torch::randn({size.rows, size.outputs});
    const Outcome ours = run(rows, weight, incoming, {size.group, 126});
    const Tensor x = rows.to(torch::kFloat64), w = weight.to(torch::kFloat64), g = incoming.to(torch::kFloat64);
    EXPECT_LE(relative(ours.product, x.mm(w.t())), 0.015);
    EXPECT_LE(relative(ours.to_rows, g.mm(w)), 0.02);
    EXPECT_LE(relative(ours.to_weight, g.t().mm(x)), 0.015);
  }
}

TEST(IntegerLinear, PortableFormAndThreadsGiveTheSameBits) {
  torch::manual_seed(3);
  const int before = at::get_num_threads();
  for (const Size& size : kSizes) {
    const Tensor rows = torch::randn({size.rows, size.inputs}), weight = quinary(size),
                 incoming = torch::randn({size.rows, size.outputs});
    const auto with = [&](int threads, bool portable) {
      at::set_num_threads(threads);
      kernels::force_portable_integer_products(portable);
      Outcome outcome = run(rows, weight, incoming, {size.group, 126});
      kernels::force_portable_integer_products(false);
      return outcome;
    };
    const Outcome reference = with(1, true);
    for (const auto& [threads, portable] : {std::tuple{1, false}, {2, false}, {3, true}}) {
      const Outcome other = with(threads, portable);
      EXPECT_TRUE(torch::equal(other.product, reference.product));
      EXPECT_TRUE(torch::equal(other.to_rows, reference.to_rows));
      EXPECT_TRUE(torch::equal(other.to_weight, reference.to_weight));
    }
  }
  at::set_num_threads(before);
}

TEST(IntegerLinear, WhatIsNotFiniteStaysSo) {
  const Size size{8, 6, 40, 20};
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    Tensor rows = torch::randn({size.rows, size.inputs});
    rows[3][17] = bad;
    const Outcome ours = run(rows, quinary(size), torch::randn({size.rows, size.outputs}), {size.group, 126});
    EXPECT_FALSE(ours.product[3].isfinite().any().item<bool>());
    EXPECT_TRUE(ours.product[2].isfinite().all().item<bool>());
    EXPECT_FALSE(ours.to_weight.isfinite().all().item<bool>());
  }
  const Outcome zero = run(torch::zeros({4, 40}), quinary(size), torch::zeros({4, 6}), {size.group, 126});
  EXPECT_EQ(zero.product.abs().max().item<float>(), 0);
  EXPECT_EQ(zero.to_weight.abs().max().item<float>(), 0);
}

// Steps between 0 and a group's largest magnitude, in which every level of the grid is a whole number.
TEST(IntegerLinear, StepsHoldEveryLevelOfAGrid) {
  for (const Grid grid : {Grid::binary, Grid::ternary, Grid::quinary, Grid::septenary, Grid::int4, Grid::int5,
                          Grid::int6, Grid::int7, Grid::int8}) {
    const int steps = integer_products({grid, Granularity::group, 64, 16}).steps, levels = max_code(grid);
    EXPECT_LE(steps, 127);
    EXPECT_GE(steps, 120);
    // Absmax grids always use their largest level; of the others a group may use only smaller ones.
    for (int largest = is_absmax(grid) ? levels : 1; largest <= levels; ++largest) EXPECT_EQ(steps % largest, 0);
  }
}

}  // namespace
}  // namespace par5
