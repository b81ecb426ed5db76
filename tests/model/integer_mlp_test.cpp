// The MLP in 8-bit integers against the operations that it stands for: the same bits, whatever the threads and the
// instruction set.
#include "model/integer_mlp.h"

#include <gtest/gtest.h>

#include <limits>

#include "model/operations.h"

namespace par5 {
namespace {

using torch::Tensor;

struct Shape {
  std::int64_t tokens, width, hidden, outputs, group;
};
// Fewer tokens than a block, a whole number of blocks, a rest; groups that end early; widths beyond a panel.
const Shape kShapes[] = {{1, 3, 5, 2, 4}, {37, 40, 70, 45, 20}, {256, 64, 192, 64, 64}, {300, 192, 130, 70, 128}};

struct Outcome {
  Tensor out, to_rows, to_up, to_down;
};
template <class Form>
Outcome run(const Tensor& rows, const Tensor& up, const Tensor& down, const Tensor& incoming, const Form& form) {
  const Tensor x = rows.clone().requires_grad_(), u = up.clone().requires_grad_(), d = down.clone().requires_grad_();
  const Tensor y = form(x, u, d);
  y.backward(incoming);
  return {y.detach(), x.grad(), u.grad(), d.grad()};
}

void expect_same(const Outcome& a, const Outcome& b) {
  EXPECT_TRUE(torch::equal(a.out, b.out));
  EXPECT_TRUE(torch::equal(a.to_rows, b.to_rows));
  EXPECT_TRUE(torch::equal(a.to_up, b.to_up));
  EXPECT_TRUE(torch::equal(a.to_down, b.to_down));
}

TEST(IntegerMlp, GivesTheBitsOfItsOperations) {
  torch::manual_seed(4);
  const int before = at::get_num_threads();
  for (const Shape& shape : kShapes)
    for (const Activation activation : {Activation::relu2, Activation::leaky_relu2})
      for (const bool with_norm : {false, true}) {
        const Tensor rows = torch::randn({shape.tokens, shape.width}), up = torch::randn({shape.hidden, shape.width}),
                     down = torch::randn({shape.outputs, shape.hidden}),
                     incoming = torch::randn({shape.tokens, shape.outputs});
        const IntegerProducts products{shape.group, 127};
        const Outcome apart = run(rows, up, down, incoming, [&](const Tensor& x, const Tensor& u, const Tensor& d) {
          const Tensor hidden = integer_linear(x, u, products);
          return integer_linear(activate(hidden, activation, with_norm, Kernels::automatic), d, products);
        });
        EXPECT_GT(apart.to_up.norm().item<double>(), 0);
        for (const auto& [threads, portable] : {std::pair{1, false}, {2, false}, {3, true}}) {
          at::set_num_threads(threads);
          kernels::force_portable_integer_products(portable);
          const Outcome fused = run(rows, up, down, incoming, [&](const Tensor& x, const Tensor& u, const Tensor& d) {
            return integer_mlp(x, u, d, {*squared_relu_slope(activation), with_norm}, products);
          });
          kernels::force_portable_integer_products(false);
          expect_same(fused, apart);
        }
        at::set_num_threads(before);
      }
}

TEST(IntegerMlp, WhatIsNotFiniteStaysSo) {
  Tensor rows = torch::randn({8, 40});
  rows[3][17] = std::numeric_limits<float>::quiet_NaN();
  const Outcome ours = run(rows, torch::randn({24, 40}), torch::randn({6, 24}), torch::randn({8, 6}),
                           [](const Tensor& x, const Tensor& u, const Tensor& d) {
                             return integer_mlp(x, u, d, {0.5, true}, {20, 127});
                           });
  EXPECT_FALSE(ours.out[3].isfinite().any().item<bool>());
  EXPECT_TRUE(ours.out[2].isfinite().all().item<bool>());
  EXPECT_FALSE(ours.to_up.isfinite().all().item<bool>());
}

}  // namespace
}  // namespace par5
