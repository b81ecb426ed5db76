#include "train/schedule.h"

#include <gtest/gtest.h>

namespace par5 {
namespace {

TrainConfig limits(std::int64_t steps, double seconds) {
  TrainConfig train;
  train.steps = steps, train.max_seconds = seconds, train.warmdown_fraction = 0.4;
  return train;
}

TEST(Schedule, ProgressIsTheLargerOfStepsAndTime) {
  EXPECT_DOUBLE_EQ(run_progress(limits(100, 0), 25, 1e9), 0.25);
  EXPECT_DOUBLE_EQ(run_progress(limits(0, 50), 1000, 10), 0.2);
  EXPECT_DOUBLE_EQ(run_progress(limits(100, 50), 25, 10), 0.25);
  EXPECT_DOUBLE_EQ(run_progress(limits(100, 50), 25, 40), 0.8);
  EXPECT_DOUBLE_EQ(run_progress(limits(100, 50), 300, 40), 1.0);
}

TEST(Schedule, WarmupRisesLinearlyAndMovesAtOnce) {
  TrainConfig train = limits(1000, 0);
  train.warmup_steps = 50;
  EXPECT_DOUBLE_EQ(learning_rate_factor(train, 0, 0), 0.02);
  EXPECT_DOUBLE_EQ(learning_rate_factor(train, 24, 0), 0.5);
  EXPECT_DOUBLE_EQ(learning_rate_factor(train, 49, 0), 1.0);
  EXPECT_DOUBLE_EQ(learning_rate_factor(train, 500, 0), 1.0);
}

TEST(Schedule, WarmdownFallsOverTheLastFraction) {
  const TrainConfig train = limits(100, 0);
  EXPECT_DOUBLE_EQ(learning_rate_factor(train, 60, 0), 1.0);
  EXPECT_NEAR(learning_rate_factor(train, 80, 0), 0.5, 1e-12);
  EXPECT_NEAR(learning_rate_factor(train, 99, 0), 0.025, 1e-12);
  EXPECT_DOUBLE_EQ(learning_rate_factor(train, 100, 0), 0.0);
  // By the clock: at 90 % of the time a quarter of the warm-down is left.
  EXPECT_NEAR(learning_rate_factor(limits(0, 600), 3, 540), 0.25, 1e-12);
  // Whichever is further.
  EXPECT_NEAR(learning_rate_factor(limits(100, 600), 80, 540), 0.25, 1e-12);
}

TEST(Schedule, WarmdownEndsAtTheFloorAndCanBeOff) {
  TrainConfig train = limits(100, 0);
  train.min_lr_fraction = 0.1;
  EXPECT_DOUBLE_EQ(learning_rate_factor(train, 100, 0), 0.1);
  EXPECT_NEAR(learning_rate_factor(train, 80, 0), 0.55, 1e-12);
  train.warmdown_fraction = 0;
  EXPECT_DOUBLE_EQ(learning_rate_factor(train, 99, 0), 1.0);
}

TEST(Schedule, WarmdownInStepsByCountOrByTheirMeanTime) {
  TrainConfig train = limits(1000, 0);
  train.warmdown_steps = 200;
  EXPECT_DOUBLE_EQ(learning_rate_factor(train, 0, 0), 1.0);
  EXPECT_DOUBLE_EQ(learning_rate_factor(train, 800, 0), 1.0);
  EXPECT_DOUBLE_EQ(learning_rate_factor(train, 900, 0), 0.5);
  EXPECT_DOUBLE_EQ(learning_rate_factor(train, 1000, 0), 0.0);
  // 0.5 s a step so far: 200 steps are the last 100 s.
  train = limits(0, 600), train.warmdown_steps = 200;
  EXPECT_DOUBLE_EQ(learning_rate_factor(train, 0, 0), 1.0);
  EXPECT_DOUBLE_EQ(learning_rate_factor(train, 900, 450), 1.0);
  EXPECT_DOUBLE_EQ(learning_rate_factor(train, 1100, 550), 0.5);
  EXPECT_DOUBLE_EQ(learning_rate_factor(train, 1300, 650), 0.0);
}

TEST(Schedule, CosineFallsThroughTheMiddle) {
  TrainConfig train = limits(100, 0);
  train.warmdown_shape = WarmdownShape::cosine, train.min_lr_fraction = 0.1;
  EXPECT_DOUBLE_EQ(learning_rate_factor(train, 60, 0), 1.0);
  EXPECT_NEAR(learning_rate_factor(train, 80, 0), 0.55, 1e-12);
  EXPECT_NEAR(learning_rate_factor(train, 90, 0), 0.1 + 0.9 * 0.14644660940672624, 1e-12);
  EXPECT_NEAR(learning_rate_factor(train, 100, 0), 0.1, 1e-12);
}

TEST(Schedule, MomentumRises) {
  OptimizerConfig optimizer;
  optimizer.muon_momentum_start = 0.85, optimizer.muon_momentum = 0.95, optimizer.muon_momentum_warmup_steps = 500;
  EXPECT_DOUBLE_EQ(muon_momentum(optimizer, 0), 0.85);
  EXPECT_NEAR(muon_momentum(optimizer, 250), 0.90, 1e-12);
  EXPECT_DOUBLE_EQ(muon_momentum(optimizer, 500), 0.95);
  EXPECT_DOUBLE_EQ(muon_momentum(optimizer, 5000), 0.95);
  optimizer.muon_momentum_warmup_steps = 0;
  EXPECT_DOUBLE_EQ(muon_momentum(optimizer, 0), 0.95);
}

TEST(Schedule, BatchGrowsInWholeMicroBatches) {
  Config config;
  config.train.batch_tokens = 8192, config.train.micro_batch_tokens = 1024, config.train.batch_start_tokens = 2048;
  config.train.batch_ramp_fraction = 0.5;
  const auto batch = [&](double progress) { return plan_step(config, 0, {progress, 1}).batch_tokens; };
  EXPECT_EQ(batch(0), 2048);
  EXPECT_EQ(batch(0.0832), 2048);
  EXPECT_EQ(batch(0.0834), 3072);
  EXPECT_EQ(batch(0.25), 5120);
  EXPECT_EQ(batch(0.499), 7168);
  EXPECT_EQ(batch(0.5), 8192);
  config.train.batch_start_tokens = 0;
  EXPECT_EQ(batch(0), 8192);
}

TEST(Schedule, SequencesDouble) {
  Config config;
  config.train.sequence = 512, config.train.sequence_start = 64, config.train.sequence_ramp_fraction = 0.3;
  const auto sequence = [&](double progress) { return plan_step(config, 0, {progress, 1}).sequence; };
  EXPECT_EQ(sequence(0), 64);
  EXPECT_EQ(sequence(0.11), 128);
  EXPECT_EQ(sequence(0.21), 256);
  EXPECT_EQ(sequence(0.3), 512);
  config.train.sequence_start = 0;
  EXPECT_EQ(sequence(0), 512);
}

TEST(Schedule, PrecisionFollowsTheRun) {
  Config config;
  const auto plan = [&](double progress) { return plan_step(config, 0, {progress, 1}); };
  EXPECT_EQ(plan(0).full_precision, 0);
  EXPECT_FALSE(plan(1).simulate_scale_bits);
  config.train.soft_quantization_fraction = 0.5, config.train.scale_qat_fraction = 0.2;
  config.quantizer.scale_bits = 5;
  EXPECT_EQ(plan(0).full_precision, 1);
  EXPECT_NEAR(plan(0.125).full_precision, 0.75, 1e-12);
  EXPECT_EQ(plan(0.5).full_precision, 0);
  EXPECT_FALSE(plan(0.79).simulate_scale_bits);
  EXPECT_TRUE(plan(0.8).simulate_scale_bits);
  config.quantizer.scale_bits = 16;
  EXPECT_FALSE(plan(0.9).simulate_scale_bits) << "fp16 scales are what training has anyway";
  config.train.quantize = false;
  EXPECT_EQ(plan(0.9).full_precision, 1);
}

}  // namespace
}  // namespace par5
