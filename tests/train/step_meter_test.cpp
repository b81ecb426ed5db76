#include "train/step_meter.h"

#include <gtest/gtest.h>

#include "tests/train/toy.h"

namespace par5 {
namespace {

TEST(StepMeter, CountsTheProductsOfAPass) {
  const ModelConfig model = toy_config().values().model;
  // Two blocks of qkv 64x32, output 32x32, MLP 64x32 twice; embedding 64x16 as head, two projections 32x16.
  const double weights = 2 * (64 * 32 + 32 * 32 + 2 * 64 * 32) + 64 * 16 + 2 * 32 * 16;
  // Forward two products and backward five, of width 32 in each of two blocks, over (16 + 1) / 2 keys.
  const double attention = 7 * 2 * 8.5 * 2 * 32;
  const auto vocabulary = static_cast<double>(model.vocab);
  EXPECT_DOUBLE_EQ(pass_flops(model, 128, 16, vocabulary), 128 * (6 * weights + attention));
  EXPECT_LT(pass_flops(model, 128, 4, vocabulary), pass_flops(model, 128, 16, vocabulary));
  EXPECT_DOUBLE_EQ(pass_flops(model, 128, 16, vocabulary - 10), 128 * (6 * (weights - 10 * 16) + attention));
}

TEST(StepMeter, CountsTheMatricesOfMuonAlone) {
  const std::vector<TensorSpec> specs = tensor_specs(toy_config().values().model);
  OptimizerConfig optimizer;
  const double flops = orthogonalization_flops(specs, optimizer);
  EXPECT_GT(flops, 0);
  optimizer.muon_iterations *= 2;
  EXPECT_DOUBLE_EQ(orthogonalization_flops(specs, optimizer), 2 * flops);
  optimizer.kind = OptimizerKind::adamw;
  EXPECT_EQ(orthogonalization_flops(specs, optimizer), 0);
}

TEST(StepMeter, AddsUpSteps) {
  StepMeter meter;
  EXPECT_EQ(meter.flops_per_second(), 0);
  EXPECT_EQ(meter.page_faults_per_step(), 0);
  std::vector<char> pages;
  for (int i = 0; i < 3; ++i) {
    meter.begin();
    pages.assign(std::size_t{64} << 20, static_cast<char>(i + 1));
    std::vector<char>().swap(pages);
    meter.end(1e6);
  }
  EXPECT_GT(meter.flops_per_second(), 0);
}

}  // namespace
}  // namespace par5
