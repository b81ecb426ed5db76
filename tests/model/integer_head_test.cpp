// The head's loss in 8-bit integers against the eager one in double precision: near it, without a bias where the
// gradient of the logits is far below a step, and the same bits whatever the threads and the instruction set.
#include "model/integer_head.h"

#include <gtest/gtest.h>

#include <cmath>
#include <tuple>
#include <vector>

#include "model/head.h"
#include "model/integer_kernels.h"

namespace par5 {
namespace {

using torch::Tensor;

constexpr double kSoftcap = 30;

struct Shape {
  std::int64_t rows, vocab, width;
};
// Parts of a block, whole blocks, more tokens than are done at once; vocabularies of no whole panels.
const Shape kShapes[] = {{5, 3, 7}, {128, 64, 32}, {300, 1003, 48}, {2200, 517, 33}};

struct Inputs {
  explicit Inputs(const Shape& shape)
      : features(torch::randn({shape.rows, shape.width})),
        embedding(torch::randn({shape.vocab, shape.width}) * (torch::rand({shape.vocab, 1}) + 0.2)),
        bias(torch::randn({shape.vocab})),
        targets(torch::randint(shape.vocab, {shape.rows}, torch::kInt64)) {}
  Tensor features, embedding, bias, targets;
};

struct Outcome {
  double total = 0;
  Tensor features, embedding, bias;
};
Outcome run(const Inputs& inputs, torch::ScalarType type, bool with_bias, bool eager, const Tensor& offsets = {}) {
  const auto leaf = [&](const Tensor& from) { return from.to(type).clone().requires_grad_(); };
  const Tensor features = leaf(inputs.features), embedding = leaf(inputs.embedding), bias = leaf(inputs.bias);
  HeadSettings settings{Softcap::poly5, kSoftcap};
  settings.integer_products = !eager;
  settings.offsets = offsets;
  const auto form = eager ? eager_head_loss : head_loss;
  const HeadLoss loss = form(features, embedding, with_bias ? bias : Tensor(), inputs.targets, 1e-3, settings);
  loss.total.backward();
  return {loss.total.item<double>(), features.grad(), embedding.grad(), bias.grad()};
}

double relative(const Tensor& ours, const Tensor& exact) {
  return ((ours.to(torch::kFloat64) - exact).norm() / exact.norm()).item<double>();
}

TEST(IntegerHead, IsNearTheEagerLoss) {
  torch::manual_seed(11);
  for (const Shape& shape : kShapes)
    for (const bool with_bias : {false, true}) {
      SCOPED_TRACE(shape.vocab);
      const Inputs inputs(shape);
      const Tensor offsets = with_bias ? torch::rand({shape.vocab}) * 3 : Tensor();
      const Outcome exact = run(inputs, torch::kFloat64, with_bias, true, offsets);
      const Outcome ours = run(inputs, torch::kFloat32, with_bias, false, offsets);
      EXPECT_NEAR(ours.total, exact.total, 0.005 * exact.total);
      EXPECT_LE(relative(ours.features, exact.features), 0.1);
      EXPECT_LE(relative(ours.embedding, exact.embedding), 0.05);
      if (with_bias) {
        EXPECT_LE(relative(ours.bias, exact.bias), 0.03);
      }
    }
}

TEST(IntegerHead, ThreadsAndThePortableFormGiveTheSameBits) {
  torch::manual_seed(12);
  const int before = at::get_num_threads();
  for (const Shape& shape : kShapes) {
    const Inputs inputs(shape);
    const auto with = [&](int threads, bool portable) {
      at::set_num_threads(threads);
      kernels::force_portable_integer_products(portable);
      Outcome outcome = run(inputs, torch::kFloat32, false, false);
      kernels::force_portable_integer_products(false);
      return outcome;
    };
    const Outcome reference = with(1, true);
    for (const auto& [threads, portable] : {std::tuple{1, false}, {2, false}, {3, true}}) {
      const Outcome other = with(threads, portable);
      EXPECT_EQ(other.total, reference.total);
      EXPECT_TRUE(torch::equal(other.features, reference.features));
      EXPECT_TRUE(torch::equal(other.embedding, reference.embedding));
    }
  }
  at::set_num_threads(before);
}

// Almost every row is sure of token 9, so that the probability of any other is far below a step of its row, and far
// below a step of its column too: one row in a hundred is sure of nothing.
TEST(IntegerHead, KeepsTheSumOfSmallProbabilities) {
  const Shape shape{256, 4000, 24};
  Inputs inputs(shape);
  inputs.features = torch::zeros({shape.rows, shape.width});
  inputs.features.select(1, 0).fill_(32);
  for (const std::int64_t unsure : {3, 100, 201}) inputs.features[unsure][0] = -32;
  inputs.embedding = torch::zeros({shape.vocab, shape.width});
  inputs.embedding.select(1, 1).fill_(0.5);
  inputs.embedding[9].zero_();
  inputs.embedding[9][0] = 0.5;
  inputs.targets.fill_(7);
  const Outcome exact = run(inputs, torch::kFloat64, false, true), ours = run(inputs, torch::kFloat32, false, false);
  const Tensor logits = softcapped(inputs.features.to(torch::kFloat64).mm(inputs.embedding.to(torch::kFloat64).t()),
                                   Softcap::poly5, kSoftcap);
  Tensor others = torch::softmax(logits, 1).mul(inputs.features.select(1, 0).gt(0).unsqueeze(1));
  others.select(1, 9).zero_();
  const double small = others.sum().item<double>() / static_cast<double>(shape.rows);
  EXPECT_LT(others.max().item<double>(), 1e-6);
  EXPECT_NEAR(ours.features.select(1, 1).sum().item<double>(), exact.features.select(1, 1).sum().item<double>(),
              0.1 * 0.5 * small);
  EXPECT_NEAR(ours.embedding.select(1, 0).sum().item<double>() - ours.embedding[9][0].item<double>(),
              exact.embedding.select(1, 0).sum().item<double>() - exact.embedding[9][0].item<double>(),
              0.1 * 32 * small);
}

TEST(IntegerHead, RowsOfZerosHaveGradientsAndWhatIsNotFiniteStaysSo) {
  torch::manual_seed(14);
  Inputs inputs({40, 30, 16});
  inputs.embedding[3].zero_();
  EXPECT_LE(relative(run(inputs, torch::kFloat32, false, false).embedding[3],
                     run(inputs, torch::kFloat64, false, true).embedding[3]),
            0.2);
  inputs.embedding.zero_();
  EXPECT_LE(relative(run(inputs, torch::kFloat32, false, false).embedding,
                     run(inputs, torch::kFloat64, false, true).embedding),
            0.05);
  inputs.features[5][2] = std::numeric_limits<float>::quiet_NaN();
  const Outcome bad = run(inputs, torch::kFloat32, false, false);
  EXPECT_TRUE(std::isnan(bad.total));
  EXPECT_FALSE(bad.embedding.isfinite().any().item<bool>());
}

// Values of a twentieth of a step and one that sets the step.
TEST(DitheredRows, KeepSumsOverRowsAndColumns) {
  constexpr std::size_t kRows = 200, kColumns = 301;
  std::vector<float> values(kRows * kColumns, 0.05f);
  for (std::size_t row = 0; row < kRows; ++row) values[row * kColumns + row] = 127;
  const kernels::InnerGroups inner{kColumns, 64};
  for (const bool portable : {false, true}) {
    kernels::force_portable_integer_products(portable);
    std::vector<std::int8_t> codes(kRows * inner.padded());
    std::vector<float> scales(kRows);
    std::vector<std::int32_t> sums(kRows * inner.count());
    const kernels::IntegerRows rows{inner, codes.data(), scales.data(), sums.data()};
    kernels::quantize_rows_dithered(values.data(), nullptr, rows, 0, kRows, 12345);
    kernels::force_portable_integer_products(false);
    std::vector<int> down(kColumns);
    for (std::size_t row = 0; row < kRows; ++row) {
      EXPECT_EQ(scales[row], 1);
      int across = 0;
      for (std::size_t g = 0; g < inner.count(); ++g) {
        int of_group = 0;
        for (std::size_t k = 0; k < inner.values(g); ++k) {
          const int code = codes[row * inner.padded() + inner.place(g) + k];
          of_group += code;
          if (const std::size_t column = inner.first(g) + k; column != row) down[column] += code, across += code;
        }
        EXPECT_EQ(of_group, sums[row * inner.count() + g]);
      }
      EXPECT_NEAR(across, 0.05 * (kColumns - 1), 3);
    }
    for (const int sum : down) EXPECT_NEAR(sum, 0.05 * kRows, 3);
  }
}

}  // namespace
}  // namespace par5
