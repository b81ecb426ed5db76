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

}  // namespace
}  // namespace par5
