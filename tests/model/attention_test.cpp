// The attention kernels against the eager form in double precision, on every instruction set that this machine has.
#include "model/attention.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "hwy/highway.h"
#include "model/runtime.h"

namespace par5 {
namespace {

struct Outcome {
  torch::Tensor mixed, to_qkv, to_gain;
};

double relative(const torch::Tensor& ours, const torch::Tensor& exact) {
  return ((ours.to(torch::kFloat64) - exact).norm() / exact.norm()).item<double>();
}

class AttentionTest : public testing::Test {
 protected:
  void SetUp() override { torch::manual_seed(11); }
  void TearDown() override {
    use_target(0);
    set_threads(0);
  }
  // 0: the best that there is.
  static void use_target(std::int64_t target) {
    hwy::SetSupportedTargetsForTest(target);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
  }

  void prepare(const AttentionShape& shape) {
    shape_ = shape;
    ModelConfig model;
    model.heads = shape.heads;
    model.width = shape.heads * shape.head_width;
    rope_ = rope_table(model, shape.length, torch::kCPU);
    const std::int64_t rows = shape.batch * shape.length;
    qkv_ = torch::randn({rows, (shape.heads + 2 * shape.kv_heads) * shape.head_width});
    // Some keys are looked at hard: large gains.
    gain_ = 1.0 + 2.0 * torch::rand({shape.heads});
    incoming_ = torch::randn({rows, shape.heads * shape.head_width});
  }
  Outcome run(torch::ScalarType type, Kernels kernels) const {
    const auto leaf = [](const torch::Tensor& x, torch::ScalarType to) {
      return x.to(to).detach().clone().requires_grad_();
    };
    const torch::Tensor qkv = leaf(qkv_, type), gain = leaf(gain_, type == torch::kFloat64 ? type : torch::kFloat32);
    const torch::Tensor mixed = gained_attention(qkv, gain, rope_, shape_, kernels);
    mixed.backward(incoming_.to(type));
    return {mixed.detach(), qkv.grad(), gain.grad()};
  }

  AttentionShape shape_;
  RopeTable rope_;
  torch::Tensor qkv_, gain_, incoming_;
};

TEST_F(AttentionTest, AgreesWithTheEagerForm) {
  // Lengths around whole tiles, widths around whole vectors, groups of one and several query heads.
  const std::vector<AttentionShape> shapes = {
      {1, 1, 1, 1, 32},   {2, 2, 2, 1, 48},  {1, 47, 4, 2, 48}, {2, 48, 4, 4, 64}, {1, 49, 3, 1, 128},
      {1, 130, 4, 2, 48}, {1, 97, 4, 1, 64}, {1, 70, 2, 2, 34}, {3, 65, 2, 1, 80}, {1, 300, 2, 2, 96}};
  for (const AttentionShape& shape : shapes) {
    prepare(shape);
    const Outcome exact = run(torch::kFloat64, Kernels::eager);
    use_target(0);
    const std::int64_t targets = hwy::SupportedTargets() & HWY_TARGETS;
    const Outcome eager = run(torch::kBFloat16, Kernels::eager);
    for (std::int64_t rest = targets; rest != 0; rest &= rest - 1) {
      const std::int64_t target = rest & ~(rest - 1);
      use_target(target);
      SCOPED_TRACE(std::string(hwy::TargetName(target)) + ", length " + std::to_string(shape.length) + ", width " +
                   std::to_string(shape.head_width));
      const Outcome ours = run(torch::kFloat32, Kernels::automatic);
      EXPECT_LE(relative(ours.mixed, exact.mixed), 2e-6);
      EXPECT_LE(relative(ours.to_qkv, exact.to_qkv), 1e-5);
      if (shape.length > 1) {
        EXPECT_LE(relative(ours.to_gain, exact.to_gain), 1e-5);
      }
      const Outcome narrow = run(torch::kBFloat16, Kernels::automatic);
      EXPECT_LE(relative(narrow.mixed, exact.mixed), 1.05 * relative(eager.mixed, exact.mixed) + 1e-3);
      EXPECT_LE(relative(narrow.to_qkv, exact.to_qkv), 1.05 * relative(eager.to_qkv, exact.to_qkv) + 1e-3);
    }
  }
}

TEST_F(AttentionTest, PlainAttentionAgreesToo) {
  prepare({2, 101, 3, 3, 64});
  const auto plain = [&](torch::ScalarType type, Kernels kernels) {
    const torch::Tensor qkv = qkv_.to(type).detach().clone().requires_grad_();
    const torch::Tensor mixed = plain_attention(qkv, shape_, 0.0, kernels);
    mixed.backward(incoming_.to(type));
    return Outcome{mixed.detach(), qkv.grad(), {}};
  };
  const Outcome exact = plain(torch::kFloat64, Kernels::eager), ours = plain(torch::kFloat32, Kernels::automatic);
  EXPECT_LE(relative(ours.mixed, exact.mixed), 2e-6);
  EXPECT_LE(relative(ours.to_qkv, exact.to_qkv), 1e-5);
}

// Scores of thousands: the maximum is taken out before the powers are.
TEST_F(AttentionTest, LargeScoresStayFinite) {
  prepare({1, 100, 2, 1, 48});
  gain_ = gain_ * 300;
  const Outcome exact = run(torch::kFloat64, Kernels::eager), ours = run(torch::kFloat32, Kernels::automatic);
  EXPECT_TRUE(ours.mixed.isfinite().all().item<bool>());
  EXPECT_TRUE(ours.to_qkv.isfinite().all().item<bool>());
  EXPECT_LE(relative(ours.mixed, exact.mixed), 1e-3) << "float32 knows scores of 10,000 to 1/1,000";
}

TEST_F(AttentionTest, TheFutureHasNoPart) {
  prepare({1, 120, 4, 2, 48});
  const Outcome before = run(torch::kFloat32, Kernels::automatic);
  qkv_.narrow(0, 77, 43).mul_(-1000);
  const Outcome after = run(torch::kFloat32, Kernels::automatic);
  EXPECT_TRUE(before.mixed.narrow(0, 0, 77).equal(after.mixed.narrow(0, 0, 77)));
}

TEST_F(AttentionTest, TheSameBitsForEveryNumberOfThreads) {
  prepare({3, 150, 4, 2, 48});
  set_threads(1);
  const Outcome one = run(torch::kFloat32, Kernels::automatic);
  for (const int threads : {2, 3, 5}) {
    set_threads(threads);
    const Outcome several = run(torch::kFloat32, Kernels::automatic);
    EXPECT_TRUE(one.mixed.equal(several.mixed));
    EXPECT_TRUE(one.to_qkv.equal(several.to_qkv));
  }
}

}  // namespace
}  // namespace par5
