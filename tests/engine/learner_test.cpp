// The exact backward pass against finite differences of the independent double-precision forward pass, its
// bit-identity over kernels and threads, and the step.
#include "engine/learner.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>

#include "tests/engine/test_models.h"
#include "tests/model/reference.h"

namespace par5 {
namespace {

using testing_support::all_logits;
using testing_support::token_ids;

constexpr double kZLoss = 1e-2;

EngineLearner make_learner(const StoredModel& model, LearnerOptions options, const std::string& kernel = "",
                           std::size_t threads = 1) {
  EngineOptions engine;
  engine.kernel = kernel;
  engine.threads = threads;
  return EngineLearner::create(model, engine, std::move(options)).value();
}

LearnerOptions everything() {
  LearnerOptions options;
  options.learns = learns_everything;
  options.z_loss = kZLoss;
  return options;
}

// Inputs and targets of `windows` windows.
struct Text {
  std::vector<std::uint16_t> inputs, targets;
  std::int64_t windows;
};
Text random_text(const StoredModel& model, std::int64_t windows, std::int64_t length) {
  return {token_ids(windows * length, model.model.vocab, 21), token_ids(windows * length, model.model.vocab, 22),
          windows};
}

double reference_loss(const StoredModel& model, const Text& text, const reference::Values& values) {
  const std::size_t length = text.inputs.size() / static_cast<std::size_t>(text.windows);
  double total = 0;
  for (std::size_t first = 0; first < text.inputs.size(); first += length) {
    const auto begin = static_cast<std::ptrdiff_t>(first), end = static_cast<std::ptrdiff_t>(first + length);
    const std::vector<std::int64_t> inputs(text.inputs.begin() + begin, text.inputs.begin() + end),
        targets(text.targets.begin() + begin, text.targets.begin() + end);
    total += reference::loss(reference::logits(model, inputs, values), targets, model.model.vocab, kZLoss);
  }
  return total / static_cast<double>(text.windows);
}

// The slope of the loss along a direction of one tensor.
double slope(const StoredModel& model, const Text& text, const StoredTensor& tensor,
             const std::vector<double>& direction) {
  const std::vector<float> stored = tensor.values();
  constexpr double kStep = 1e-5;
  double losses[2];
  for (const int side : {0, 1}) {
    std::vector<double> moved(stored.begin(), stored.end());
    for (std::size_t i = 0; i < moved.size(); ++i) moved[i] += (side ? kStep : -kStep) * direction[i];
    losses[side] = reference_loss(model, text, {{tensor.spec.name, moved}});
  }
  return (losses[1] - losses[0]) / (2 * kStep);
}

// Along a random direction, along the gradient itself, and for single values.
void check_tensor(const StoredModel& model, const Text& text, const StoredTensor& tensor,
                  const std::vector<float>& gradient, const std::string& name) {
  std::mt19937_64 generator(7);
  std::normal_distribution<double> normal;
  double norm = 0;
  for (const float g : gradient) norm += static_cast<double>(g) * static_cast<double>(g);
  norm = std::sqrt(norm);
  std::vector<std::vector<double>> directions(3, std::vector<double>(gradient.size()));
  for (double& d : directions[0]) d = normal(generator) / std::sqrt(static_cast<double>(gradient.size()));
  for (std::size_t i = 0; i < gradient.size(); ++i)
    directions[1][i] = static_cast<double>(gradient[i]) / (norm + 1e-30);
  directions[2][generator() % gradient.size()] = 1;
  for (std::size_t n = 0; n < directions.size(); ++n) {
    double expected = 0;
    for (std::size_t i = 0; i < gradient.size(); ++i) expected += static_cast<double>(gradient[i]) * directions[n][i];
    EXPECT_NEAR(slope(model, text, tensor, directions[n]), expected, 2e-5 * norm + 2e-7)
        << name << " " << tensor.spec.name << " direction " << n;
  }
}

// At points of random weights the loss is smooth but for kinks of relu2's square, which has none in its slope.
TEST(Learner, GradientsAreTheSlopesOfTheReferencesLoss) {
  for (const auto& [name, model] : testing_support::models_of_every_kind()) {
    if (name.starts_with("unet int") || name == "unet group 1" || name == "unet group 3") continue;  // as "unet"
    const Text text = random_text(model, 1, 9);
    EngineLearner learner = make_learner(model, everything());
    const double nats = learner.differentiate(text.inputs, text.targets, text.windows).value();
    EXPECT_GT(nats, 0.0);
    for (const StoredTensor& tensor : model.tensors)
      check_tensor(model, text, tensor, learner.gradient(tensor.spec.name), name);
  }
}

// Several blocks of attention, several passes of the forward pass, several windows.
TEST(Learner, GradientsOfLongWindows) {
  ModelConfig config = testing_support::small_unet();
  config.layers = 2;
  config.width = 16, config.heads = 2, config.kv_heads = 1, config.mlp_width = 24, config.embedding_width = 12;
  config.vocab = 40;
  config.context = 300;
  config.rope_max_context = 600;
  const StoredModel model =
      testing_support::random_model(config, testing_support::quantizer_of(Grid::quinary, Granularity::group, 8), 3);
  const Text text = random_text(model, 2, 270);
  EngineLearner learner = make_learner(model, everything(), "", 2);
  (void)learner.differentiate(text.inputs, text.targets, text.windows).value();
  for (const StoredTensor& tensor : model.tensors)
    check_tensor(model, text, tensor, learner.gradient(tensor.spec.name), "long");
}

TEST(Learner, LossIsTheMeanCrossEntropyOfTheEnginesOwnProbabilities) {
  const StoredModel model = testing_support::models_of_every_kind().front().model;
  const Text text = random_text(model, 3, 20);
  EngineLearner learner = make_learner(model, {});
  const double nats = learner.differentiate(text.inputs, text.targets, text.windows).value();
  Engine engine = testing_support::make_engine(model, Arithmetic::fp32, "");
  const auto vocab = static_cast<std::size_t>(model.model.vocab);
  double expected = 0;
  for (std::size_t first = 0; first < text.inputs.size(); first += 20) {
    std::vector<float> logits = all_logits(engine, std::span(text.inputs).subspan(first, 20));
    engine.log_probabilities(logits, 1.0, logits);
    for (std::size_t i = 0; i < 20; ++i) expected -= static_cast<double>(logits[i * vocab + text.targets[first + i]]);
  }
  EXPECT_NEAR(nats, expected / static_cast<double>(text.inputs.size()), 1e-6);
}

// Weights after two steps, and what the engine then says, bit for bit.
TEST(Learner, KernelsAndThreadsGiveTheSameBits) {
  for (const auto& [name, model] : testing_support::models_of_every_kind()) {
    if (name.starts_with("unet int") || name.starts_with("unet group")) continue;
    const Text text = random_text(model, 2, 67);
    Digest expected{};
    std::vector<float> expected_logits;
    for (const std::string& kernel : kernel_names())
      for (const std::size_t threads : {1u, 3u}) {
        if (kernel == "scalar" && threads == 3) continue;
        LearnerOptions options = everything();
        options.decay = 0.01;
        EngineLearner learner = make_learner(model, options, kernel, threads);
        for (int step = 0; step < 2; ++step)
          ASSERT_TRUE(learner.step(text.inputs, text.targets, text.windows, 0.1).has_value());
        const Digest hash = learner.content_hash();
        const std::vector<float> logits = all_logits(learner.engine(), std::span(text.inputs).first(30));
        if (expected_logits.empty()) expected = hash, expected_logits = logits;
        EXPECT_EQ(hash, expected) << name << " " << kernel << " " << threads;
        EXPECT_EQ(std::memcmp(logits.data(), expected_logits.data(), logits.size() * sizeof(float)), 0)
            << name << " " << kernel << " " << threads;
      }
  }
}

// The step as docs/arithmetic.md writes it, and that the engine scores with its result.
TEST(Learner, StepsFollowTheirDefinition) {
  const StoredModel model = testing_support::models_of_every_kind().front().model;
  const Text text = random_text(model, 2, 16);
  LearnerOptions options = everything();
  options.momentum = 0.5, options.clip = 0.01, options.decay = 0.125;
  EngineLearner learner = make_learner(model, options);
  const std::string tensor = "blocks.1.mlp.fc.weight";
  const std::vector<float> stored = learner.values(tensor);
  std::vector<float> weights = stored, velocity(stored.size(), 0.0f);
  for (int step = 0; step < 3; ++step) {
    ASSERT_TRUE(learner.step(text.inputs, text.targets, text.windows, 0.25).has_value());
    const std::vector<float> gradient = learner.gradient(tensor);
    const auto factor = static_cast<float>(std::min(1.0, options.clip / (learner.gradient_norm() + 1e-6)));
    EXPECT_LT(factor, 1.0f);
    for (std::size_t i = 0; i < weights.size(); ++i) {
      velocity[i] = std::fma(0.5f, velocity[i], gradient[i] * factor);
      const float back = stored[i] - weights[i];
      weights[i] = std::fma(0.125f, back, std::fma(-0.25f, velocity[i], weights[i]));
    }
    ASSERT_EQ(learner.values(tensor), weights) << step;
  }
  double squares = 0;
  for (const StoredTensor& t : model.tensors)
    for (const float g : learner.gradient(t.spec.name)) squares += static_cast<double>(g) * static_cast<double>(g);
  EXPECT_NEAR(learner.gradient_norm(), std::sqrt(squares), 1e-5 * std::sqrt(squares));

  Engine engine = testing_support::make_engine(model, Arithmetic::fp32, "");
  const std::vector<float> before = all_logits(engine, text.inputs);
  EXPECT_NE(all_logits(learner.engine(), text.inputs), before);
  learner.reset();
  EXPECT_EQ(all_logits(learner.engine(), text.inputs), before);
}

TEST(Learner, LearnsATextByHeart) {
  for (const bool all : {false, true}) {
    const StoredModel model = testing_support::models_of_every_kind().front().model;
    const Text text = random_text(model, 1, 24);
    LearnerOptions options;
    if (all) options.learns = learns_everything;
    EngineLearner learner = make_learner(model, options);
    EXPECT_EQ(learner.learning_values() > 2000, all);
    const double first = learner.step(text.inputs, text.targets, 1, 0.05).value();
    double last = first;
    for (int i = 0; i < 30; ++i) last = learner.step(text.inputs, text.targets, 1, 0.05).value();
    EXPECT_LT(last, first - (all ? 1.0 : 0.2));
  }
}

TEST(Learner, RefusesWhatCannotBe) {
  const StoredModel model = testing_support::models_of_every_kind().front().model;
  EngineOptions int8;
  int8.arithmetic = Arithmetic::int8;
  EXPECT_EQ(EngineLearner::create(model, int8, {}).error().code, ErrorCode::usage);
  LearnerOptions wild;
  wild.momentum = 2;
  EXPECT_EQ(EngineLearner::create(model, {}, wild).error().code, ErrorCode::usage);
  EngineLearner learner = make_learner(model, {});
  const std::vector<std::uint16_t> ids(6, 1), foreign(6, 5000);
  EXPECT_EQ(learner.step(ids, ids, 4, 0.1).error().code, ErrorCode::usage);
  EXPECT_EQ(learner.step({}, {}, 1, 0.1).error().code, ErrorCode::usage);
  EXPECT_EQ(learner.step(ids, foreign, 1, 0.1).error().code, ErrorCode::bad_data);
  EXPECT_EQ(learner.step(foreign, ids, 1, 0.1).error().code, ErrorCode::bad_data);
  EXPECT_TRUE(learner.step(ids, ids, 2, 0.1).has_value());
}

}  // namespace
}  // namespace par5
