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
  options.rate_factor = learns_everything;
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

// Every tensor by its own length; the embedding with its projections alone; the output alone.
LearnerOptions lars() {
  LearnerOptions options = everything();
  options.rule = StepRule::lars;
  options.decay = 0.01;
  return options;
}
LearnerOptions embedding_only() {
  LearnerOptions options = lars();
  options.momentum = 0;
  options.rate_factor = [](const TensorSpec& spec) {
    return spec.shape.size() == 2 && !spec.calibration && !is_layer_matrix(spec) ? 2.0 : 0.0;
  };
  return options;
}
LearnerOptions output_only() {
  LearnerOptions options;
  options.output = true;
  options.temperature = 1.3;
  return options;
}

// Log-probabilities of every token after every prefix.
std::vector<float> all_log_probabilities(Engine& engine, std::span<const std::uint16_t> tokens, double temperature) {
  std::vector<float> logits = all_logits(engine, tokens);
  engine.log_probabilities(logits, temperature, logits);
  return logits;
}

// Weights after two steps, and what the engine then says, bit for bit.
TEST(Learner, KernelsAndThreadsGiveTheSameBits) {
  LearnerOptions decaying = everything();
  decaying.decay = 0.01;
  for (const auto& [name, model] : testing_support::models_of_every_kind()) {
    if (name.starts_with("unet int") || name.starts_with("unet group")) continue;
    const Text text = random_text(model, 2, 67);
    const bool every_option = name == "unet" || name == "gpt2";
    for (const LearnerOptions& options :
         every_option ? std::vector{decaying, lars(), embedding_only(), output_only()} : std::vector{decaying}) {
      Digest expected{};
      std::vector<float> expected_logs;
      for (const std::string& kernel : kernel_names())
        for (const std::size_t threads : {1u, 2u, 3u}) {
          if (threads > 1 && (kernel == "scalar" || name != "unet")) continue;
          EngineLearner learner = make_learner(model, options, kernel, threads);
          for (int step = 0; step < 2; ++step)
            ASSERT_TRUE(learner.step(text.inputs, text.targets, text.windows, 0.1).has_value());
          const Digest hash = learner.content_hash();
          const std::vector<float> logs =
              all_log_probabilities(learner.engine(), std::span(text.inputs).first(30), options.temperature);
          if (expected_logs.empty()) expected = hash, expected_logs = logs;
          EXPECT_EQ(hash, expected) << name << " " << kernel << " " << threads;
          EXPECT_EQ(std::memcmp(logs.data(), expected_logs.data(), logs.size() * sizeof(float)), 0)
              << name << " " << kernel << " " << threads;
        }
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
      weights[i] = std::fma(-0.25f, velocity[i], weights[i]);
      weights[i] = std::fma(0.125f, stored[i] - weights[i], weights[i]);
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

double norm(const std::vector<float>& values) {
  double squares = 0;
  for (const float value : values) squares += static_cast<double>(value) * static_cast<double>(value);
  return std::sqrt(squares);
}

// Each tensor's gradient is made as long as the stored tensor; tensors have rates of their own.
TEST(Learner, LarsScalesEachTensorAndRatesAreTheTensors) {
  const StoredModel model = testing_support::models_of_every_kind().front().model;
  const Text text = random_text(model, 1, 20);
  LearnerOptions options = lars();
  options.momentum = 0.5, options.decay = 0, options.clip = 1e-9;
  options.rate_factor = [](const TensorSpec& spec) {
    return spec.name == "tok_emb.weight" ? 3.0 : spec.name == "blocks.0.attn.c_qkv.weight" ? 0.5 : 0.0;
  };
  EngineLearner learner = make_learner(model, options);
  EXPECT_EQ(learner.learning_values(), 101 * 20 + 96 * 48);
  for (const auto& [tensor, rate] : {std::pair{"tok_emb.weight", 0.03f}, {"blocks.0.attn.c_qkv.weight", 0.005f}}) {
    learner.reset();
    const std::vector<float> stored = learner.values(tensor);
    std::vector<float> weights = stored, velocity(stored.size(), 0.0f);
    for (int step = 0; step < 2; ++step) {
      ASSERT_TRUE(learner.step(text.inputs, text.targets, 1, 0.01).has_value());
      const std::vector<float> gradient = learner.gradient(tensor);
      const std::vector<float> values = learner.values(tensor);
      const double factor = norm(stored) / norm(gradient);
      for (std::size_t i = 0; i < weights.size(); ++i) {
        velocity[i] = 0.5f * velocity[i] + static_cast<float>(factor) * gradient[i];
        weights[i] -= rate * velocity[i];
        ASSERT_NEAR(values[i], weights[i], 1e-5) << tensor << " " << i;
      }
      if (step == 0) {
        EXPECT_NEAR(norm(velocity), norm(stored), 1e-4 * norm(stored));
      }
    }
  }
  EXPECT_TRUE(learner.values("vocab_bias").empty());
}

// Against finite differences of the definition, in double: p'(v) ∝ exp(sharpness · log p(v) + bias(v)).
TEST(Learner, OutputFollowsTheSlopeOfItsLoss) {
  const StoredModel model = testing_support::models_of_every_kind().front().model;
  const Text text = random_text(model, 2, 15);
  const auto vocab = static_cast<std::size_t>(model.model.vocab);
  const LearnerOptions options = output_only();
  EngineLearner learner = make_learner(model, options);
  EXPECT_EQ(learner.learning_values(), model.model.vocab + 1);
  Engine plain = testing_support::make_engine(model, Arithmetic::fp32, "");
  std::vector<float> logs;
  for (const std::size_t first : {0u, 15u}) {
    const auto window = all_log_probabilities(plain, std::span(text.inputs).subspan(first, 15), options.temperature);
    logs.insert(logs.end(), window.begin(), window.end());
  }
  // The mean loss with these values.
  const auto loss = [&](const std::vector<double>& bias, double sharpness) {
    double sum = 0;
    for (std::size_t p = 0; p < text.targets.size(); ++p) {
      double total = 0;
      for (std::size_t v = 0; v < vocab; ++v)
        total += std::exp(sharpness * static_cast<double>(logs[p * vocab + v]) + bias[v]);
      const std::size_t target = text.targets[p];
      sum += std::log(total) - sharpness * static_cast<double>(logs[p * vocab + target]) - bias[target];
    }
    return sum / static_cast<double>(text.targets.size());
  };
  for (int step = 0; step < 3; ++step) {
    const std::vector<float> now = learner.values("output.bias");
    std::vector<double> bias(now.begin(), now.end());
    const double sharpness = 1 + static_cast<double>(learner.values("output.sharpness")[0]);
    const double nats = learner.step(text.inputs, text.targets, 2, 0.5).value();
    EXPECT_NEAR(nats, loss(bias, sharpness), 1e-5);
    const std::vector<float> gradient = learner.gradient("output.bias");
    for (std::size_t v = 0; v < vocab; v += 7) {
      std::vector<double> up = bias, down = bias;
      up[v] += 1e-5, down[v] -= 1e-5;
      EXPECT_NEAR(gradient[v], (loss(up, sharpness) - loss(down, sharpness)) / 2e-5, 1e-6) << v;
    }
    EXPECT_NEAR(learner.gradient("output.sharpness")[0],
                (loss(bias, sharpness + 1e-5) - loss(bias, sharpness - 1e-5)) / 2e-5, 1e-5);
  }
  // What the engine says now is p' with the values as they are; after a reset it is as it was, bit for bit.
  const std::vector<float> bias = learner.values("output.bias");
  const double sharpness = 1 + static_cast<double>(learner.values("output.sharpness")[0]);
  EXPECT_NE(sharpness, 1.0);
  const auto window = std::span(text.inputs).first(15);
  const std::vector<float> learnt = all_log_probabilities(learner.engine(), window, options.temperature);
  for (std::size_t p = 0; p < 15; ++p) {
    double total = 0;
    for (std::size_t v = 0; v < vocab; ++v)
      total += std::exp(sharpness * static_cast<double>(logs[p * vocab + v]) + static_cast<double>(bias[v]));
    for (std::size_t v = 0; v < vocab; ++v)
      ASSERT_NEAR(learnt[p * vocab + v],
                  sharpness * static_cast<double>(logs[p * vocab + v]) + static_cast<double>(bias[v]) - std::log(total),
                  1e-5);
  }
  learner.reset();
  const std::vector<float> back = all_log_probabilities(learner.engine(), window, options.temperature);
  EXPECT_EQ(std::memcmp(back.data(), logs.data(), back.size() * sizeof(float)), 0);
}

TEST(Learner, GoesOnFromItsState) {
  const StoredModel model = testing_support::models_of_every_kind().front().model;
  const Text text = random_text(model, 2, 16);
  for (const LearnerOptions& options : {everything(), lars(), output_only()}) {
    EngineLearner one = make_learner(model, options), two = make_learner(model, options);
    ASSERT_TRUE(one.step(text.inputs, text.targets, 2, 0.1).has_value());
    const std::vector<std::byte> state = one.state();
    ASSERT_TRUE(two.restore(state));
    EXPECT_EQ(two.state(), state);
    for (EngineLearner* learner : {&one, &two})
      ASSERT_TRUE(learner->step(text.inputs, text.targets, 2, 0.1).has_value());
    EXPECT_EQ(one.state(), two.state());
    const std::vector<float> a = all_log_probabilities(one.engine(), text.inputs, 1.0),
                             b = all_log_probabilities(two.engine(), text.inputs, 1.0);
    EXPECT_EQ(std::memcmp(a.data(), b.data(), a.size() * sizeof(float)), 0);
    EXPECT_EQ(one.restore(std::span(state).first(state.size() - 4)).error().code, ErrorCode::bad_data);
  }
}

// A rate beyond all reason ends in an error or in probabilities, never in nonsense.
TEST(Learner, SurvivesWildRates) {
  const StoredModel model = testing_support::models_of_every_kind().front().model;
  const Text text = random_text(model, 1, 8);
  for (LearnerOptions options : {everything(), lars(), output_only()}) {
    options.clip = 0;
    EngineLearner learner = make_learner(model, options);
    for (int step = 0; step < 3; ++step) (void)learner.step(text.inputs, text.targets, 1, 1e30);
    const auto vocab = static_cast<std::size_t>(model.model.vocab);
    std::vector<std::uint64_t> frequencies(vocab), totals(1);
    Windows windows = learner.engine().make_windows(1, 8).value();
    const WindowInput input{0, std::span(text.inputs).first(8), 7};
    (void)learner.engine().append(windows, {&input, 1}, [&](std::int64_t, std::int64_t, std::span<const float> logits) {
      learner.engine().frequencies(logits, options.temperature, 32, frequencies, totals);
      for (const std::uint64_t frequency : frequencies) EXPECT_GE(frequency, 1u);
      return Status();
    });
  }
}

TEST(Learner, LearnsATextByHeart) {
  for (const bool all : {false, true}) {
    const StoredModel model = testing_support::models_of_every_kind().front().model;
    const Text text = random_text(model, 1, 24);
    LearnerOptions options;
    if (all) options.rate_factor = learns_everything;
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
  EXPECT_TRUE(EngineLearner::create(model, int8, output_only()).has_value()) << "the output learns in any arithmetic";
  LearnerOptions cold = output_only();
  cold.temperature = 0;
  EXPECT_EQ(EngineLearner::create(model, {}, cold).error().code, ErrorCode::usage);
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
