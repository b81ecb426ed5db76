#include "eval/torch/torch_learner.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "eval/broker.h"
#include "eval/plan.h"
#include "small_model.h"

namespace par5 {
namespace {

std::unique_ptr<TorchLearner> make_learner(TorchScorer& scorer, ModeKind kind, const EvalSettings& options) {
  auto learner = TorchLearner::create(scorer.network(), torch_learner_options(kind, options, 1e-3));
  EXPECT_TRUE(learner);
  return std::move(*learner);
}

const std::vector<std::uint16_t> kContext = {1, 5, 9, 30};

// Hands out windows through a broker, as nothing else can: steps of 2 windows of 16.
void learn(TorchScorer& scorer, Learner& learner, const EvalData& data, int steps, double learning_rate) {
  auto broker = TokenBroker::create(data.tokens, data.targets());
  ASSERT_TRUE(broker->score(scorer, *chunked_plan(data.targets(), 16), 64, nullptr));
  for (int i = 0; i < steps; ++i) ASSERT_TRUE(broker->learn(learner, 1 + 32 * i, 2, 16, learning_rate));
}

// A network of its own on which the test takes the same steps by the definition, in double.
struct Reference {
  explicit Reference(const StoredModel& stored) : network(stored.model, torch::kCPU, torch::kFloat32) {
    EXPECT_TRUE(network.load(stored));
    network.require_gradients(true, true);
  }
  // Fills the gradients of all weights with those of step i of learn().
  void differentiate(const EvalData& data, int i) {
    torch::Tensor x = torch::empty({2, 16}, torch::kInt64), y = torch::empty({2, 16}, torch::kInt64);
    for (std::int64_t k = 0; k < 32; ++k) {
      x.data_ptr<std::int64_t>()[k] = data.tokens[static_cast<std::size_t>(32 * i + k)];
      y.data_ptr<std::int64_t>()[k] = data.tokens[static_cast<std::size_t>(32 * i + k + 1)];
    }
    network.clear_gradients();
    network.loss(x, y, 1e-3).total.backward();
  }
  Network network;
};

double norm_of(const std::vector<torch::Tensor>& tensors) {
  double squares = 0;
  for (const torch::Tensor& tensor : tensors) squares += tensor.to(torch::kFloat64).square().sum().item<double>();
  return std::sqrt(squares);
}

void expect_near(const torch::Tensor& a, const torch::Tensor& b, double tolerance, const std::string& what) {
  const double scale = std::max(1.0, b.to(torch::kFloat64).abs().max().item<double>());
  EXPECT_LE((a.to(torch::kFloat64) - b.to(torch::kFloat64)).abs().max().item<double>(), tolerance * scale) << what;
}

TEST(TorchLearner, ScalarsAdaptCalibrationTensorsOnlyAndResetUndoesIt) {
  const StoredModel stored = random_model(4);
  const auto scorer = make_scorer(stored);
  const EvalData data = random_data(100, 5);
  const auto before = distribution(*scorer, kContext);
  {
    const auto learner = make_learner(*scorer, ModeKind::ttt_scalars, settings(16, 4, 256));
    EXPECT_EQ(learner->adapted_values(), count_parameters(stored.model).calibration);
    learn(*scorer, *learner, data, 2, 0.05);
    EXPECT_NE(distribution(*scorer, kContext), before);
    const Reference untouched(stored);
    for (std::size_t i = 0; i < scorer->network().weights().size(); ++i) {
      const NetworkWeight& weight = scorer->network().weights()[i];
      EXPECT_EQ(torch::equal(weight.effective, untouched.network.weights()[i].effective), !weight.spec.calibration);
    }
    learner->reset();
    EXPECT_EQ(distribution(*scorer, kContext), before);
    learn(*scorer, *learner, data, 2, 0.05);
  }
  // A learner that is gone leaves the stored model behind.
  EXPECT_EQ(distribution(*scorer, kContext), before);
}

// Without gradients of the matrices, the calibration tensors move by the same bits.
TEST(TorchLearner, ScalarsMoveAsWithFullGradients) {
  const StoredModel stored = random_model(6);
  const EvalData data = random_data(100, 7);
  EvalSettings options = settings(16, 4, 256);
  options.ttt.clip = 0.2;
  const auto scorer = make_scorer(stored);
  const auto learner = make_learner(*scorer, ModeKind::ttt_scalars, options);
  learn(*scorer, *learner, data, 3, 0.05);

  Reference reference(stored);
  std::vector<torch::Tensor> velocities;
  for (const NetworkWeight& weight : reference.network.weights())
    velocities.push_back(torch::zeros_like(weight.effective).detach());
  for (int i = 0; i < 3; ++i) {
    reference.differentiate(data, i);
    const torch::NoGradGuard no_gradients;
    torch::Tensor squares = torch::zeros({});
    for (const NetworkWeight& weight : reference.network.weights())
      if (weight.spec.calibration) squares += weight.effective.grad().square().sum();
    const double factor = std::min(1.0, 0.2 / (squares.sqrt().item<double>() + 1e-6));
    EXPECT_LT(factor, 1);
    for (std::size_t w = 0; w < velocities.size(); ++w) {
      NetworkWeight& weight = reference.network.weights()[w];
      if (!weight.spec.calibration) continue;
      velocities[w].mul_(0.9).add_(weight.effective.grad(), factor);
      weight.effective.sub_(velocities[w], 0.05);
    }
  }
  for (std::size_t w = 0; w < velocities.size(); ++w)
    EXPECT_TRUE(torch::equal(scorer->network().weights()[w].effective, reference.network.weights()[w].effective))
        << reference.network.weights()[w].spec.name;
}

// The kind that helps leaves the packed matrices alone.
TEST(TorchLearner, ByDefaultTheEmbeddingLearns) {
  const StoredModel stored = random_model(20);
  const EvalData data = random_data(100, 21);
  EvalSettings options = settings(16, 4, 256);
  options.ttt_model = model_learning();
  const auto scorer = make_scorer(stored);
  const auto learner = make_learner(*scorer, ModeKind::ttt_model, options);
  EXPECT_EQ(learner->adapted_values(), count_parameters(stored.model).embedding);
  learn(*scorer, *learner, data, 2, 0.01);
  const Reference untouched(stored);
  for (std::size_t i = 0; i < untouched.network.weights().size(); ++i) {
    const std::string& name = untouched.network.weights()[i].spec.name;
    const bool embedding = name == "tok_emb.weight" || name.starts_with("embed_proj");
    EXPECT_NE(torch::equal(scorer->network().weights()[i].effective, untouched.network.weights()[i].effective),
              embedding)
        << name;
  }
}

TEST(TorchLearner, EveryOptimiserStepsByItsDefinition) {
  const StoredModel stored = random_model(6);
  const EvalData data = random_data(100, 7);
  for (const TttOptimizer optimizer : {TttOptimizer::sgd, TttOptimizer::lars, TttOptimizer::adamw}) {
    EvalSettings options = settings(16, 4, 256);
    options.ttt_model.optimizer = optimizer;
    options.ttt_model.momentum = 0.8;
    options.ttt_model.adam_beta2 = 0.9;
    options.ttt_model.clip = 0.5;
    options.ttt_model.decay = 0.1;
    options.ttt_model.matrix_factor = 1;
    options.ttt_model.embedding_factor = 2;
    options.ttt_model.calibration_factor = 0.5;
    const double rate = optimizer == TttOptimizer::sgd ? 0.05 : 0.01;
    const auto scorer = make_scorer(stored);
    const auto learner = make_learner(*scorer, ModeKind::ttt_model, options);
    EXPECT_EQ(learner->adapted_values(), count_parameters(stored.model).total());
    learn(*scorer, *learner, data, 3, rate);

    Reference reference(stored);
    std::vector<torch::Tensor> values, first, second, initial;
    for (const NetworkWeight& weight : reference.network.weights()) {
      values.push_back(weight.effective.detach().to(torch::kFloat64));
      initial.push_back(values.back().clone());
      first.push_back(torch::zeros_like(values.back()));
      second.push_back(torch::zeros_like(values.back()));
    }
    for (int i = 0; i < 3; ++i) {
      reference.differentiate(data, i);
      const torch::NoGradGuard no_gradients;
      std::vector<torch::Tensor> gradients;
      for (const NetworkWeight& weight : reference.network.weights())
        gradients.push_back(weight.effective.grad().to(torch::kFloat64));
      const double factor = std::min(1.0, 0.5 / (norm_of(gradients) + 1e-6));
      for (std::size_t w = 0; w < values.size(); ++w) {
        const TensorSpec& spec = reference.network.weights()[w].spec;
        const bool embedding = spec.name == "tok_emb.weight" || spec.name.starts_with("embed_proj");
        const double own_rate = rate * (spec.calibration ? 0.5 : embedding ? 2.0 : 1.0);
        torch::Tensor g = gradients[w] * factor;
        if (optimizer == TttOptimizer::adamw) {
          first[w] = 0.8 * first[w] + 0.2 * g;
          second[w] = 0.9 * second[w] + 0.1 * g * g;
          const torch::Tensor m = first[w] / (1 - std::pow(0.8, i + 1)), v = second[w] / (1 - std::pow(0.9, i + 1));
          values[w] = values[w] - own_rate * m / (v.sqrt() + 1e-8);
        } else {
          if (optimizer == TttOptimizer::lars) g = gradients[w] * (norm_of({initial[w]}) / norm_of({gradients[w]}));
          first[w] = 0.8 * first[w] + g;
          values[w] = values[w] - own_rate * first[w];
        }
        values[w] = values[w] + 0.1 * (initial[w] - values[w]);
        reference.network.weights()[w].effective.copy_(values[w]);
      }
    }
    for (std::size_t w = 0; w < values.size(); ++w)
      expect_near(scorer->network().weights()[w].effective, values[w], 2e-4, reference.network.weights()[w].spec.name);
  }
}

TEST(TorchLearner, LoraMovesItsMatricesByProductsOfItsFactors) {
  const StoredModel stored = random_model(14);
  const EvalData data = random_data(100, 15);
  EvalSettings options = settings(16, 4, 256);
  options.ttt_lora.rank = 2;
  options.ttt_lora.matrices = LoraMatrices::attention;
  const auto scorer = make_scorer(stored);
  const auto learner = make_learner(*scorer, ModeKind::ttt_lora, options);
  // c_qkv [64, 32] and proj [32, 32] of 3 blocks.
  EXPECT_EQ(learner->adapted_values(), 3 * 2 * (64 + 32 + 32 + 32));
  learn(*scorer, *learner, data, 3, 0.01);
  const Reference reference(stored);
  for (std::size_t w = 0; w < reference.network.weights().size(); ++w) {
    const NetworkWeight& weight = reference.network.weights()[w];
    const torch::Tensor moved = scorer->network().weights()[w].effective.detach() - weight.effective.detach();
    if (weight.spec.name.find(".attn.") == std::string::npos || weight.spec.calibration) {
      EXPECT_EQ(moved.abs().max().item<float>(), 0.0f) << weight.spec.name;
      continue;
    }
    EXPECT_GT(moved.abs().max().item<float>(), 0.0f) << weight.spec.name;
    const torch::Tensor singular = std::get<1>(at::_linalg_svd(moved.to(torch::kFloat64)));
    EXPECT_LT(singular[2].item<double>(), 1e-5 * singular[0].item<double>()) << weight.spec.name;
  }
}

TEST(TorchLearner, RateZeroScoresAsWithoutLearningBitForBit) {
  const StoredModel stored = random_model(8);
  const auto scorer = make_scorer(stored);
  const EvalData data = random_data(150, 9);
  // Batches of one window: the rounds of learning do not change what shares a batch.
  const EvalSettings options = settings(16, 4, 1);
  const ThreadCount one(1);
  for (const ModeKind kind : {ModeKind::ttt_scalars, ModeKind::ttt_model, ModeKind::ttt_lora, ModeKind::ttt_phased}) {
    const ModeKind plain = kind == ModeKind::ttt_lora ? ModeKind::document_sliding : ModeKind::sliding;
    const auto learner = make_learner(*scorer, kind, options);
    const auto sliding = run_mode(data, {plain}, options, *scorer, nullptr);
    const auto still = run_mode(data, {kind, true}, options, *scorer, learner.get());
    const auto learning = run_mode(data, {kind}, options, *scorer, learner.get());
    const auto again = run_mode(data, {kind}, options, *scorer, learner.get());
    ASSERT_TRUE(sliding && still && learning && again) << mode_name({kind});
    EXPECT_EQ(still->target_units, sliding->target_units) << mode_name({kind});
    EXPECT_NE(learning->target_units, sliding->target_units) << mode_name({kind});
    EXPECT_EQ(learning->target_units, again->target_units) << mode_name({kind});
    EXPECT_GT(learning->updates, 0);
    EXPECT_EQ(still->updates, learning->updates);
  }
}

// Steps at rate 0 are not computed; were they, nothing would change either.
TEST(TorchLearner, TinyRatesMoveNothingMuch) {
  const StoredModel stored = random_model(8);
  const auto scorer = make_scorer(stored);
  const EvalData data = random_data(100, 9);
  const auto before = distribution(*scorer, kContext);
  for (const ModeKind kind : {ModeKind::ttt_scalars, ModeKind::ttt_model, ModeKind::ttt_lora}) {
    const auto learner = make_learner(*scorer, kind, settings(16, 4, 256));
    learn(*scorer, *learner, data, 3, 1e-9);
    const auto after = distribution(*scorer, kContext);
    for (std::size_t v = 0; v < before.size(); ++v) EXPECT_NEAR(after[v], before[v], 1e-5);
  }
}

TEST(TorchLearner, LoraStartsAnewInEveryDocumentUnlessCarried) {
  const StoredModel stored = random_model(16);
  const auto scorer = make_scorer(stored);
  const ThreadCount one(1);
  const EvalData data = random_data(200, 17);
  EvalSettings options = settings(16, 8, 1);
  options.ttt_lora.learning.chunk_tokens = 8;
  const auto learner = make_learner(*scorer, ModeKind::ttt_lora, options);
  const auto still = run_mode(data, {ModeKind::ttt_lora, true}, options, *scorer, learner.get());
  const auto anew = run_mode(data, {ModeKind::ttt_lora}, options, *scorer, learner.get());
  options.ttt_lora.carry = true;
  const auto carried = run_mode(data, {ModeKind::ttt_lora}, options, *scorer, learner.get());
  ASSERT_TRUE(still && anew && carried);
  std::int64_t position = 0, first_chunks = 0, carried_moves = 0, later_moves = 0;
  for (std::size_t t = 1; t <= 200; ++t, ++position) {
    if (data.tokens[t - 1] == data.bos) position = 0;
    const bool moved = anew->target_units[t - 1] != still->target_units[t - 1];
    // A window of 16 may be scored whole before the first chunk of 8 is over.
    if (position < 8) {
      ++first_chunks;
      EXPECT_FALSE(moved) << t;
      carried_moves += carried->target_units[t - 1] != still->target_units[t - 1];
    } else {
      later_moves += moved;
    }
  }
  EXPECT_GT(first_chunks, 30);
  EXPECT_GT(carried_moves, 0);
  EXPECT_GT(later_moves, 0);
}

TEST(TorchLearner, ThreadsAndBatchesHardlyMatter) {
  const StoredModel stored = random_model(18);
  const EvalData data = random_data(80, 19);
  for (const ModeKind kind : {ModeKind::sliding, ModeKind::ttt_scalars, ModeKind::ttt_model}) {
    std::optional<double> first;
    for (const int threads : {1, 2})
      for (const std::int64_t batch_tokens : {1, 7 * 16, 32 * 16}) {
        const ThreadCount count(threads);
        const auto scorer = make_scorer(stored);
        const EvalSettings options = settings(16, 4, batch_tokens);
        const auto learner = make_learner(*scorer, kind, options);
        const auto row = run_mode(data, {kind}, options, *scorer, learner.get());
        ASSERT_TRUE(row);
        if (!first) first = row->bpb();
        EXPECT_NEAR(row->bpb(), *first, 1e-6 * *first) << mode_name({kind}) << threads << " " << batch_tokens;
      }
  }
}

TEST(TorchLearner, ModelsWithoutCalibrationTensorsCannotLearnScalars) {
  const StoredModel stored = random_gpt2(12);
  const auto scorer = make_scorer(stored);
  const EvalData data = random_data(64, 13);
  const EvalSettings options = settings(16, 4, 256);
  const auto scalars = make_learner(*scorer, ModeKind::ttt_scalars, options);
  EXPECT_EQ(scalars->adapted_values(), 0);
  EXPECT_EQ(run_mode(data, {ModeKind::ttt_scalars}, options, *scorer, scalars.get()).error().code, ErrorCode::usage);
  const auto all = make_learner(*scorer, ModeKind::ttt_model, options);
  EXPECT_TRUE(run_mode(data, {ModeKind::ttt_model}, options, *scorer, all.get()));
}

}  // namespace
}  // namespace par5
