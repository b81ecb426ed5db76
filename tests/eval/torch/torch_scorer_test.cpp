#include "eval/torch/torch_scorer.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "eval/broker.h"
#include "eval/plan.h"
#include "eval/score.h"

namespace par5 {
namespace {

constexpr std::int64_t kVocab = 40;

StoredModel random_model(unsigned seed) {
  StoredModel stored;
  stored.model.layers = 3;
  stored.model.width = 32;
  stored.model.heads = 4;
  stored.model.kv_heads = 2;
  stored.model.mlp_width = 64;
  stored.model.vocab = kVocab;
  stored.model.embedding_width = 16;
  stored.model.context = 16;
  stored.model.rope_max_context = 32;
  stored.quantizer.group = 16;
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, 0.3f);
  for (const TensorSpec& spec : tensor_specs(stored.model)) {
    std::vector<float> values(static_cast<std::size_t>(element_count(spec.shape)));
    for (float& value : values) value = normal(random) + (spec.calibration ? 0.7f : 0.0f);
    auto tensor = store_tensor(spec, values, stored.quantizer);
    EXPECT_TRUE(tensor);
    stored.tensors.push_back(std::move(*tensor));
  }
  return stored;
}

std::unique_ptr<TorchScorer> make_scorer(const StoredModel& stored, TorchScorerOptions options = {}) {
  auto scorer = TorchScorer::create(stored, options);
  EXPECT_TRUE(scorer);
  return std::move(*scorer);
}

EvalData random_data(std::int64_t targets, unsigned seed) {
  EvalData data;
  std::mt19937 random(seed);
  data.token_bytes.bytes.assign(kVocab, 2);
  data.token_bytes.leading_space.assign(kVocab, 1);
  data.token_bytes.boundary.assign(kVocab, 0);
  data.tokens.push_back(data.bos);
  while (data.targets() < targets)
    data.tokens.push_back(random() % 20 == 0 ? data.bos : static_cast<std::uint16_t>(2 + random() % (kVocab - 2)));
  data.available_targets = targets;
  return data;
}

EvalSettings settings(std::int64_t window, std::int64_t stride, std::int64_t batch_tokens) {
  EvalSettings options;
  options.window = window;
  options.stride = stride;
  options.batch_tokens = batch_tokens;
  options.ttt.chunk_tokens = 64;
  options.ttt.lr = 0.05;
  return options;
}

// The whole distribution after one context, by a window of its own.
std::vector<float> distribution(TorchScorer& scorer, std::span<const std::uint16_t> context) {
  std::vector<float> row;
  const auto last = static_cast<std::int64_t>(context.size());
  const std::vector<PositionRange> wanted = {{last - 1, last}};
  EXPECT_TRUE(scorer.score({context, last, wanted},
                           [&](std::int64_t, std::int64_t rows, std::span<const float> logs) -> Status {
                             EXPECT_EQ(rows, 1);
                             row.assign(logs.begin(), logs.end());
                             return {};
                           }));
  return row;
}

TEST(TorchScorer, EveryModeAgreesWithOneWindowPerTarget) {
  const StoredModel stored = random_model(1);
  const auto scorer = make_scorer(stored);
  const EvalData data = random_data(90, 2);
  const std::span<const std::uint16_t> tokens = data.tokens;
  for (const Mode& mode : {Mode{ModeKind::chunked}, Mode{ModeKind::sliding}, Mode{ModeKind::document}})
    for (const std::int64_t batch_tokens : {1, 40, 1000}) {
      const auto row = run_mode(data, mode, settings(12, 5, batch_tokens), *scorer, nullptr);
      ASSERT_TRUE(row);
      std::vector<Window> plan;
      if (mode.kind == ModeKind::document)
        plan = *document_plan(tokens, 90, data.bos, 12, 12);
      else
        plan = *sliding_plan(90, 12, mode.kind == ModeKind::chunked ? 12 : 5);
      for (const Window& window : plan)
        for (std::int64_t t = window.first_target(); t < window.end_target(); ++t) {
          const auto logs = distribution(*scorer, tokens.subspan(static_cast<std::size_t>(window.start),
                                                                 static_cast<std::size_t>(t - window.start)));
          EXPECT_NEAR(row->target_nats[static_cast<std::size_t>(t - 1)], -logs[tokens[static_cast<std::size_t>(t)]],
                      1e-5);
        }
    }
}

TEST(TorchScorer, RowsAreDistributionsAndTemperatureSharpens) {
  const StoredModel stored = random_model(3);
  const auto plain = make_scorer(stored);
  TorchScorerOptions options;
  options.temperature = 0.5;
  const auto sharp = make_scorer(stored, options);
  const std::vector<std::uint16_t> context = {1, 5, 9, 30};
  const auto p = distribution(*plain, context), q = distribution(*sharp, context);
  double sum = 0, squares = 0;
  for (const float log : p) sum += std::exp(log), squares += std::exp(2.0 * log);
  EXPECT_NEAR(sum, 1, 1e-5);
  for (std::size_t i = 0; i < p.size(); ++i) EXPECT_NEAR(q[i], 2 * p[i] - std::log(squares), 1e-4);
  options.temperature = 0;
  EXPECT_FALSE(TorchScorer::create(stored, options));
}

// Hands out windows through a broker, as nothing else can.
void learn(TorchScorer& scorer, const EvalData& data, int steps, double learning_rate) {
  auto broker = TokenBroker::create(data.tokens, data.targets());
  ASSERT_TRUE(broker->score(scorer, *chunked_plan(data.targets(), 16), 64, nullptr));
  for (int i = 0; i < steps; ++i) ASSERT_TRUE(broker->learn(scorer, 1 + 32 * i, 2, 16, learning_rate));
}

TEST(TorchScorer, LearningAdaptsCalibrationTensorsOnlyAndResetUndoesIt) {
  const StoredModel stored = random_model(4);
  const auto scorer = make_scorer(stored);
  EXPECT_EQ(scorer->adapted_values(), count_parameters(stored.model).calibration);
  const EvalData data = random_data(100, 5);
  const std::vector<std::uint16_t> context = {1, 5, 9, 30};
  const auto before = distribution(*scorer, context);
  learn(*scorer, data, 2, 0.0);
  EXPECT_EQ(distribution(*scorer, context), before);
  learn(*scorer, data, 2, 0.05);
  EXPECT_NE(distribution(*scorer, context), before);
  scorer->reset();
  EXPECT_EQ(distribution(*scorer, context), before);
}

TEST(TorchScorer, StepsAreClippedSgdWithMomentum) {
  const StoredModel stored = random_model(6);
  const EvalData data = random_data(100, 7);
  TorchScorerOptions options;
  options.ttt.clip = 0.2;
  options.z_loss = 1e-3;
  const auto scorer = make_scorer(stored, options);
  learn(*scorer, data, 3, 0.05);

  // The same by the definition, in double where it matters, on a network of its own.
  Network network(stored.model, torch::kCPU, torch::kFloat32);
  ASSERT_TRUE(network.load(stored));
  network.require_gradients(false, true);
  std::vector<torch::Tensor> weights, velocities;
  for (NetworkWeight& weight : network.weights()) {
    if (!weight.spec.calibration) continue;
    weights.push_back(weight.effective);
    velocities.push_back(torch::zeros_like(weight.effective, torch::kFloat64).detach());
  }
  bool clipped = false;
  for (int i = 0; i < 3; ++i) {
    torch::Tensor x = torch::empty({2, 16}, torch::kInt64), y = torch::empty({2, 16}, torch::kInt64);
    for (std::int64_t k = 0; k < 32; ++k) {
      x.data_ptr<std::int64_t>()[k] = data.tokens[static_cast<std::size_t>(32 * i + k)];
      y.data_ptr<std::int64_t>()[k] = data.tokens[static_cast<std::size_t>(32 * i + k + 1)];
    }
    network.loss(x, y, 1e-3).total.backward();
    const torch::NoGradGuard no_gradients;
    double squares = 0;
    for (const torch::Tensor& weight : weights)
      squares += weight.grad().to(torch::kFloat64).square().sum().item<double>();
    const double factor = std::min(1.0, 0.2 / (std::sqrt(squares) + 1e-6));
    clipped = clipped || factor < 1;
    for (std::size_t w = 0; w < weights.size(); ++w) {
      velocities[w] = 0.9 * velocities[w] + factor * weights[w].grad().to(torch::kFloat64);
      weights[w].copy_(weights[w].to(torch::kFloat64) - 0.05 * velocities[w]);
      weights[w].mutable_grad().reset();
    }
  }
  EXPECT_TRUE(clipped);
  const std::vector<std::uint16_t> context = {1, 5, 9, 30};
  const torch::Tensor hidden = network.hidden(torch::tensor({1, 5, 9, 30}, torch::kInt64).unsqueeze(0));
  const torch::Tensor expected = torch::log_softmax(network.logits(hidden[0].narrow(0, 3, 1)), 1);
  const auto actual = distribution(*scorer, context);
  for (std::int64_t v = 0; v < kVocab; ++v)
    EXPECT_NEAR(actual[static_cast<std::size_t>(v)], expected[0][v].item<float>(), 1e-5);
}

TEST(TorchScorer, TttRowsAreMatched) {
  const StoredModel stored = random_model(8);
  const auto scorer = make_scorer(stored);
  const EvalData data = random_data(300, 9);
  const auto sliding = run_mode(data, {ModeKind::sliding}, settings(16, 4, 256), *scorer, scorer.get());
  const auto still = run_mode(data, {ModeKind::ttt_scalars, true}, settings(16, 4, 256), *scorer, scorer.get());
  const auto learning = run_mode(data, {ModeKind::ttt_scalars}, settings(16, 4, 256), *scorer, scorer.get());
  const auto again = run_mode(data, {ModeKind::ttt_scalars}, settings(16, 4, 256), *scorer, scorer.get());
  ASSERT_TRUE(sliding && still && learning && again);
  for (std::size_t i = 0; i < 300; ++i) EXPECT_NEAR(still->target_nats[i], sliding->target_nats[i], 1e-5);
  EXPECT_EQ(learning->target_nats, again->target_nats);
  EXPECT_TRUE(std::equal(still->target_nats.begin(), still->target_nats.begin() + 64, learning->target_nats.begin()));
  EXPECT_NE(learning->target_nats, still->target_nats);
}

TEST(TorchScorer, Bfloat16IsNear) {
  const StoredModel stored = random_model(10);
  TorchScorerOptions options;
  options.precision = Precision::bfloat16;
  const EvalData data = random_data(64, 11);
  const auto exact = run_mode(data, {ModeKind::chunked}, settings(16, 4, 256), *make_scorer(stored), nullptr);
  const auto rounded =
      run_mode(data, {ModeKind::chunked}, settings(16, 4, 256), *make_scorer(stored, options), nullptr);
  ASSERT_TRUE(exact && rounded);
  EXPECT_EQ(rounded->engine, "torch bfloat16");
  EXPECT_NEAR(rounded->bpb(), exact->bpb(), 0.02 * exact->bpb());
}

TEST(TorchScorer, ModelsWithoutCalibrationTensorsCannotLearnScalars) {
  StoredModel stored;
  stored.model = ModelConfig{};
  stored.model.backbone = Backbone::gpt2;
  stored.model.norm = Norm::layer;
  stored.model.activation = Activation::gelu;
  stored.model.softcap = Softcap::none;
  stored.model.linear_norm = LinearNorm::none;
  stored.model.embedding_storage = EmbeddingStorage::quantized;
  stored.model.vocab_bias = false;
  stored.model.layers = 1;
  stored.model.width = stored.model.embedding_width = 32;
  stored.model.heads = stored.model.kv_heads = 4;
  stored.model.mlp_width = 64;
  stored.model.vocab = kVocab;
  stored.model.context = 16;
  stored.quantizer.granularity = Granularity::tensor;
  std::mt19937 random(12);
  for (const TensorSpec& spec : tensor_specs(stored.model)) {
    std::vector<float> values(static_cast<std::size_t>(element_count(spec.shape)));
    for (float& value : values) value = std::normal_distribution<float>(0, 0.2f)(random);
    stored.tensors.push_back(*store_tensor(spec, values, stored.quantizer));
  }
  const auto scorer = make_scorer(stored);
  const EvalData data = random_data(64, 13);
  EXPECT_TRUE(run_mode(data, {ModeKind::sliding}, settings(16, 4, 256), *scorer, scorer.get()));
  EXPECT_EQ(scorer->adapted_values(), 0);
  EXPECT_EQ(run_mode(data, {ModeKind::ttt_scalars}, settings(16, 4, 256), *scorer, scorer.get()).error().code,
            ErrorCode::usage);
}

}  // namespace
}  // namespace par5
