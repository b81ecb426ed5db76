// A part of the vocabulary that stands for all of it: what it holds, that its sums are right on average, and that the
// whole vocabulary as a sample gives the loss and the gradients of the vocabulary.
#include "model/vocabulary_sample.h"

#include <gtest/gtest.h>

#include <set>

#include "model/network.h"
#include "tests/model/random_model.h"

namespace par5 {
namespace {

constexpr std::int64_t kVocab = 203;

std::vector<std::int64_t> ids_of(const torch::Tensor& tensor) {
  const torch::Tensor flat = tensor.flatten().contiguous();
  return {flat.const_data_ptr<std::int64_t>(), flat.const_data_ptr<std::int64_t>() + flat.numel()};
}

torch::Tensor equal_weights() { return torch::ones({kVocab}); }

TEST(VocabularySample, HoldsEveryTargetAndAPartOfTheRest) {
  torch::manual_seed(1);
  for (const std::int64_t one_of : {1, 2, 7, 1000}) {
    const torch::Tensor targets = torch::randint(kVocab, {4, 16}, torch::kInt64);
    const VocabularySample sample = sample_vocabulary(targets, equal_weights(), {one_of, 5});
    const std::vector<std::int64_t> tokens = ids_of(sample.tokens), wanted = ids_of(targets);
    EXPECT_TRUE(std::is_sorted(tokens.begin(), tokens.end()));
    const std::set<std::int64_t> distinct(wanted.begin(), wanted.end());
    const auto others = static_cast<double>(kVocab - distinct.size());
    EXPECT_NEAR(static_cast<double>(tokens.size() - distinct.size()), others / static_cast<double>(one_of), 1.0);
    EXPECT_TRUE(sample.tokens.index_select(0, sample.targets).equal(targets.flatten()));
    EXPECT_TRUE(sample.offsets.index_select(0, sample.targets).eq(0).all().item<bool>());
    EXPECT_NEAR(sample.offsets.exp().sum().item<double>(), kVocab, static_cast<double>(one_of));
    EXPECT_TRUE(sample.tokens.equal(sample_vocabulary(targets, equal_weights(), {one_of, 5}).tokens));
  }
}

TEST(VocabularySample, TargetsBeyondTheVocabularyAreRefused) {
  for (const std::int64_t target : {std::int64_t{-1}, kVocab})
    EXPECT_THROW((void)sample_vocabulary(torch::tensor({target}), equal_weights(), {2, 1}), c10::ValueError);
}

TEST(VocabularySample, EstimatesSumsWithoutBias) {
  torch::manual_seed(2);
  const torch::Tensor targets = torch::randint(kVocab, {20}, torch::kInt64), logits = 2 * torch::randn({kVocab});
  const double exact = logits.exp().sum().item<double>();
  double deviation[2] = {0, 0};
  for (const bool weighted : {false, true}) {
    const torch::Tensor weights = weighted ? (0.5 * logits).exp() : equal_weights();
    double sum = 0, squares = 0;
    std::set<std::int64_t> drawn;
    constexpr int kSamples = 4000;
    for (int seed = 0; seed < kSamples; ++seed) {
      const VocabularySample sample = sample_vocabulary(targets, weights, {4, static_cast<std::uint64_t>(seed)});
      const double estimate =
          (logits.index_select(0, sample.tokens) + sample.offsets).exp().sum().item<double>() / exact;
      sum += estimate, squares += estimate * estimate;
      for (const std::int64_t token : ids_of(sample.tokens)) drawn.insert(token);
    }
    const double mean = sum / kSamples;
    deviation[weighted] = std::sqrt(squares / kSamples - mean * mean);
    EXPECT_NEAR(mean, 1.0, 4 * deviation[weighted] / std::sqrt(kSamples));
    if (!weighted) {
      EXPECT_EQ(drawn.size(), kVocab);
    }
  }
  EXPECT_LT(deviation[1], 0.5 * deviation[0]);
}

// Without a bias all tokens are drawn alike, so that one of one is the whole vocabulary.
TEST(VocabularySample, OfTheWholeVocabularyGivesItsLoss) {
  ModelConfig model;
  model.layers = 3, model.width = 64, model.heads = 4, model.kv_heads = 2, model.mlp_width = 128;
  model.vocab = kVocab, model.embedding_width = 32, model.context = 32, model.rope_max_context = 64;
  QuantizerConfig quantizer;
  quantizer.group = 32;
  const torch::Tensor tokens = torch::tensor(testing_support::random_tokens(4 * 17, model.vocab, 3)).view({4, 17});
  const torch::Tensor inputs = tokens.narrow(1, 0, 16), targets = tokens.narrow(1, 1, 16);
  for (const bool bias : {false, true})
    for (const Kernels kernels : {Kernels::automatic, Kernels::eager}) {
      model.vocab_bias = bias;
      Network network(model, torch::kCPU, torch::kFloat32, kernels);
      ASSERT_TRUE(network.load(testing_support::random_model(model, quantizer, 3)));
      network.require_gradients(true, true);
      if (bias) {
        // A part gives what it holds a gradient, and nothing else.
        const Network::Loss part = network.sampled_loss(inputs, targets, 1e-4, {8, 1});
        part.total.backward();
        EXPECT_LT(part.vocabulary, kVocab);
        EXPECT_EQ(network.weight("vocab_bias").grad().count_nonzero().item<std::int64_t>(), part.vocabulary);
        continue;
      }
      const auto gradients = [&](const Network::Loss& loss) {
        loss.total.backward();
        std::vector<torch::Tensor> all;
        for (const NetworkWeight& weight : network.weights()) all.push_back(weight.effective.grad());
        network.clear_gradients();
        return all;
      };
      const Network::Loss whole = network.loss(inputs, targets, 1e-4);
      const Network::Loss sampled = network.sampled_loss(inputs, targets, 1e-4, {1, 1});
      EXPECT_EQ(sampled.vocabulary, kVocab);
      EXPECT_NEAR(sampled.total.item<double>(), whole.total.item<double>(), 1e-6);
      const auto of_whole = gradients(whole), of_sample = gradients(sampled);
      for (std::size_t i = 0; i < of_whole.size(); ++i)
        EXPECT_TRUE(torch::allclose(of_sample[i], of_whole[i], 1e-5, 1e-8)) << network.weights()[i].spec.name;
    }
}

}  // namespace
}  // namespace par5
