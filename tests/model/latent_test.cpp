#include "model/latent.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "core/file.h"
#include "model/runtime.h"
#include "tests/model/random_model.h"

namespace par5 {
namespace {

ModelConfig small_model() {
  ModelConfig model;
  model.layers = 3, model.width = 96, model.heads = 4, model.kv_heads = 2, model.mlp_width = 192;
  model.vocab = 64, model.embedding_width = 32;
  return model;
}
ModelConfig small_gpt2() {
  ModelConfig model = small_model();
  model.backbone = Backbone::gpt2, model.kv_heads = 4, model.embedding_width = 96, model.context = 16;
  model.embedding_storage = EmbeddingStorage::quantized, model.norm = Norm::layer, model.activation = Activation::gelu;
  model.softcap = Softcap::none, model.linear_norm = LinearNorm::none, model.dropout = 0.1;
  return model;
}
QuantizerConfig small_quantizer() {
  QuantizerConfig quantizer;
  quantizer.group = 48;
  return quantizer;
}

const LatentWeight& find(const LatentWeights& latent, const std::string& name) {
  for (const LatentWeight& weight : latent.weights())
    if (weight.spec.name == name) return weight;
  throw std::out_of_range(name);
}

TEST(Latent, RefreshGivesTheStoredModelBitForBit) {
  for (const ModelConfig& model : {small_model(), small_gpt2()})
    for (const torch::ScalarType type : {torch::kFloat32, torch::kBFloat16}) {
      LatentWeights latent(model, small_quantizer(), {}, torch::kCPU);
      for (LatentWeight& weight : latent.weights()) weight.value.add_(torch::randn(weight.value.sizes()), 0.1);
      Network trained(model, torch::kCPU, type), loaded(model, torch::kCPU, type);
      ASSERT_TRUE(latent.refresh(trained));

      // As a checkpoint travels: file, match, store, load.
      auto folder = TemporaryFolder::create();
      ASSERT_TRUE(folder);
      const std::string path = join_path(folder->path(), "model.safetensors");
      const std::vector<Tensor> tensors = latent.tensors();
      std::vector<TensorView> views;
      for (const Tensor& tensor : tensors) views.push_back(tensor.view());
      ASSERT_TRUE(write_safetensors(path, views, {}, Overwrite::no));
      const auto file = SafetensorsFile::open(path);
      ASSERT_TRUE(file);
      const auto matched = match_tensors(*file, model, path);
      ASSERT_TRUE(matched);
      const auto stored = store_checkpoint(*matched, model, small_quantizer());
      ASSERT_TRUE(stored);
      ASSERT_TRUE(loaded.load(*stored));
      for (std::size_t i = 0; i < trained.weights().size(); ++i)
        EXPECT_TRUE(at::equal(trained.weights()[i].effective, loaded.weights()[i].effective))
            << trained.weights()[i].spec.name;

      const auto again = LatentWeights::from_checkpoint(*matched, model, small_quantizer(), torch::kCPU);
      ASSERT_TRUE(again);
      for (std::size_t i = 0; i < tensors.size(); ++i)
        EXPECT_TRUE(at::equal(again->weights()[i].value, latent.weights()[i].value)) << tensors[i].name;
    }
}

TEST(Latent, InitialWeightsAreAsConfigured) {
  const LatentWeights latent(small_model(), small_quantizer(), {}, torch::kCPU);
  EXPECT_EQ(find(latent, "blocks.1.attn.proj.weight").value.abs().max().item<float>(), 0.0f);
  EXPECT_EQ(find(latent, "blocks.2.mlp.proj.weight").value.abs().max().item<float>(), 0.0f);
  EXPECT_NEAR(find(latent, "blocks.0.mlp.fc.weight").value.std().item<double>(), 0.02, 0.001);
  EXPECT_NEAR(find(latent, "tok_emb.weight").value.std().item<double>(), 0.005, 0.0005);
  EXPECT_TRUE(at::equal(find(latent, "blocks.0.resid_mix").value, at::stack({torch::ones({96}), torch::zeros({96})})));
  EXPECT_TRUE(at::equal(find(latent, "blocks.0.attn.q_gain").value, torch::full({4}, 5.0)));
  EXPECT_TRUE(at::equal(find(latent, "skip_weights").value, torch::ones({1, 96})));
  EXPECT_TRUE(at::equal(find(latent, "vocab_bias").value, torch::zeros({64})));

  const LatentWeights gpt2(small_gpt2(), small_quantizer(), {0.0, 0.1, 1}, torch::kCPU);
  EXPECT_NEAR(find(gpt2, "transformer.h.0.mlp.c_proj.weight").value.std().item<double>(), 1 / std::sqrt(192.0), 0.003);
  EXPECT_NEAR(find(gpt2, "transformer.wte.weight").value.std().item<double>(), 0.1, 0.005);
  EXPECT_TRUE(at::equal(find(gpt2, "transformer.ln_f.weight").value, torch::ones({96})));
}

TEST(Latent, TheSeedDecidesTheWeights) {
  const LatentWeights one(small_model(), small_quantizer(), {0.02, 0.005, 7}, torch::kCPU);
  const LatentWeights two(small_model(), small_quantizer(), {0.02, 0.005, 7}, torch::kCPU);
  const LatentWeights other(small_model(), small_quantizer(), {0.02, 0.005, 8}, torch::kCPU);
  const std::string name = "blocks.0.attn.c_qkv.weight";
  EXPECT_TRUE(at::equal(find(one, name).value, find(two, name).value));
  EXPECT_FALSE(at::equal(find(one, name).value, find(other, name).value));
  EXPECT_FALSE(at::equal(find(one, name).value, find(one, "blocks.1.attn.c_qkv.weight").value));
}

TEST(Latent, GradientsAreCollectedOverMicroBatches) {
  const ModelConfig model = small_model();
  LatentWeights latent(model, small_quantizer(), {}, torch::kCPU);
  Network network(model, torch::kCPU, torch::kFloat32);
  ASSERT_TRUE(latent.refresh(network));
  network.require_gradients(true, true);
  const torch::Tensor tokens = torch::tensor(testing_support::random_tokens(2 * 17, model.vocab, 2)).view({2, 17});
  const auto backward = [&](const torch::Tensor& part) {
    network.loss(part.narrow(1, 0, 16), part.narrow(1, 1, 16), 1e-4).total.backward();
  };
  backward(tokens);
  latent.collect_gradients(network);
  const torch::Tensor whole = find(latent, "tok_emb.weight").gradient.clone();
  latent.clear_gradients();
  for (const std::int64_t row : {0, 1}) {
    backward(tokens.narrow(0, row, 1));
    latent.collect_gradients(network, 0.5);
  }
  EXPECT_LE((find(latent, "tok_emb.weight").gradient - whole).norm().item<double>(),
            1e-5 * whole.norm().item<double>());
  EXPECT_FALSE(network.weight("tok_emb.weight").grad().defined());
}

TEST(Latent, WeightsThatAreNotFiniteAreNamed) {
  LatentWeights latent(small_model(), small_quantizer(), {}, torch::kCPU);
  latent.weights()[3].value.view(-1)[5] = std::numeric_limits<float>::quiet_NaN();
  Network network(small_model(), torch::kCPU, torch::kFloat32);
  const Status status = latent.refresh(network);
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, ErrorCode::bad_data);
  EXPECT_NE(status.error().message.find(latent.weights()[3].spec.name), std::string::npos) << status.error().message;
}

TEST(Network, PositionsBeyondTheTableAreAUsageError) {
  Network network(small_gpt2(), torch::kCPU, torch::kFloat32);
  EXPECT_TRUE(network.check_length(16));
  EXPECT_FALSE(network.check_length(17));
  const auto result = guarded([&] { return network.hidden(torch::zeros({1, 17}, torch::kInt64)); });
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, ErrorCode::usage);
  EXPECT_NE(result.error().message.find("16 learned positions"), std::string::npos) << result.error().message;
}

TEST(Network, TokensOutsideTheVocabularyAreErrors) {
  Network network(small_model(), torch::kCPU, torch::kFloat32);
  EXPECT_FALSE(guarded([&] { return network.hidden(torch::full({1, 4}, 64, torch::kInt64)); }));
  const torch::Tensor inputs = torch::zeros({1, 4}, torch::kInt64);
  EXPECT_FALSE(guarded([&] { return network.loss(inputs, torch::full({1, 4}, -1, torch::kInt64), 0.0).total; }));
}

TEST(Network, DropoutActsInTrainingOnly) {
  LatentWeights latent(small_gpt2(), small_quantizer(), {0.0, 0.1, 1}, torch::kCPU);
  Network network(small_gpt2(), torch::kCPU, torch::kFloat32);
  ASSERT_TRUE(latent.refresh(network));
  const torch::Tensor tokens = torch::arange(16).view({1, 16});
  EXPECT_TRUE(at::equal(network.hidden(tokens), network.hidden(tokens)));
  network.set_training(true);
  EXPECT_FALSE(at::equal(network.hidden(tokens), network.hidden(tokens)));
}

TEST(Runtime, ExceptionsBecomeErrors) {
  const auto value = guarded([] { return 3; });
  EXPECT_EQ(*value, 3);
  const Status fine = guarded([] {});
  EXPECT_TRUE(fine);
  const Status kept = guarded([]() -> Status { return bad_data("kept"); });
  EXPECT_EQ(kept.error().message, "kept");
  const auto memory = guarded([]() -> int { throw std::bad_alloc(); });
  EXPECT_EQ(memory.error().code, ErrorCode::resource_limit);
  EXPECT_FALSE(to_string(describe_runtime()).empty());
}

}  // namespace
}  // namespace par5
