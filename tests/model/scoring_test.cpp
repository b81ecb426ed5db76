// The exact savings of scoring, held to the plain forward pass.
#include <gtest/gtest.h>

#include <string>

#include "model/network.h"
#include "tests/model/random_model.h"

namespace par5 {
namespace {

constexpr std::int64_t kVocab = 50, kLength = 40;

ModelConfig small_model(std::int64_t layers) {
  ModelConfig model;
  model.layers = layers;
  model.width = 96;
  model.heads = 4;
  model.kv_heads = 2;
  model.mlp_width = 192;
  model.embedding_width = 32;
  model.vocab = kVocab;
  model.context = 64;
  model.rope_max_context = 128;
  return model;
}

// Sequences that are each the one before moved on by `shift` tokens.
torch::Tensor overlapping(std::int64_t batch, std::int64_t shift) {
  const std::vector<std::int64_t> stream = testing_support::random_tokens(batch * shift + kLength, kVocab, 3);
  torch::Tensor tokens = torch::empty({batch, kLength}, torch::kInt64);
  for (std::int64_t b = 0; b < batch; ++b)
    std::copy_n(stream.begin() + b * shift, kLength, tokens.data_ptr<std::int64_t>() + b * kLength);
  return tokens;
}

void expect_savings_change_nothing(const ModelConfig& model, torch::ScalarType compute, Kernels kernels,
                                   double tolerance, const std::string& what) {
  QuantizerConfig quantizer;
  quantizer.group = 32;
  Network network(model, torch::kCPU, compute, kernels);
  ASSERT_TRUE(network.load(testing_support::random_model(model, quantizer, 5)));
  const torch::NoGradGuard no_gradients;
  for (const std::int64_t batch : {1, 3})
    for (const std::int64_t shift : {7, 40})
      for (const std::int64_t first : {0, 20, 39}) {
        const torch::Tensor tokens = overlapping(batch, shift);
        const torch::Tensor plain = network.hidden(tokens).narrow(1, first, kLength - first);
        const torch::Tensor saving = network.scoring_hidden(tokens, {first, shift});
        const torch::Tensor apart = network.scoring_hidden(tokens, {first, 0});
        ASSERT_EQ(saving.sizes(), plain.sizes());
        const double scale = plain.abs().max().item<double>();
        EXPECT_LE((saving - plain).abs().max().item<double>(), tolerance * scale)
            << what << batch << " " << shift << " " << first;
        EXPECT_LE((apart - plain).abs().max().item<double>(), tolerance * scale)
            << what << batch << " " << shift << " " << first;
      }
}

TEST(Scoring, SavingsChangeNothing) {
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  for (const std::int64_t layers : {1, 2, 3, 4}) {
    expect_savings_change_nothing(small_model(layers), torch::kFloat32, Kernels::automatic, 2e-6, "fused ");
    expect_savings_change_nothing(small_model(layers), torch::kFloat64, Kernels::eager, 1e-12, "double ");
  }
  ModelConfig apart = small_model(4);
  apart.fused_qkv = false;
  apart.linear_norm = LinearNorm::all;
  apart.activation = Activation::swiglu;
  expect_savings_change_nothing(apart, torch::kFloat64, Kernels::eager, 1e-12, "apart ");
  expect_savings_change_nothing(small_model(4), torch::kBFloat16, Kernels::automatic, 5e-2, "bfloat16 ");
  ModelConfig gpt2 = small_model(2);
  gpt2.backbone = Backbone::gpt2;
  gpt2.kv_heads = 4;
  gpt2.embedding_width = 96;
  gpt2.norm = Norm::layer;
  gpt2.activation = Activation::gelu;
  expect_savings_change_nothing(gpt2, torch::kFloat64, Kernels::eager, 1e-12, "gpt2 ");
  at::set_num_threads(threads);
}

TEST(Scoring, NoPositionWantedIsAnError) {
  Network network(small_model(2), torch::kCPU, torch::kFloat32);
  EXPECT_THROW(network.scoring_hidden(overlapping(1, 1), {kLength, 0}), c10::ValueError);
  EXPECT_THROW(network.scoring_hidden(overlapping(1, 1), {-1, 0}), c10::ValueError);
}

}  // namespace
}  // namespace par5
