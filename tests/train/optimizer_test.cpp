#include "train/optimizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <set>
#include <vector>

#include "train/muon.h"

namespace par5 {
namespace {

using testing::ElementsAre;

// The published configurations' shapes (presets.md).
ModelConfig quinary_16mb() { return {}; }
ModelConfig ternary_16mb() {
  ModelConfig model;
  model.width = 768, model.heads = 8, model.kv_heads = 4, model.mlp_width = 3072, model.vocab = 8192;
  model.embedding_width = 254;
  return model;
}
ModelConfig bitnet_16mb() {
  ModelConfig model;
  model.layers = 12, model.width = 768, model.heads = 12, model.kv_heads = 6, model.mlp_width = 2496;
  model.vocab = 1024, model.embedding_width = 768, model.fused_qkv = false, model.vocab_bias = false;
  model.embedding_storage = EmbeddingStorage::fp16;
  return model;
}
ModelConfig pentanet_124m() {
  ModelConfig model;
  model.backbone = Backbone::gpt2, model.layers = 12, model.width = 768, model.heads = 12, model.kv_heads = 12;
  model.mlp_width = 3072, model.vocab = 50257, model.embedding_width = 768, model.context = 512;
  model.activation = Activation::gelu, model.norm = Norm::layer;
  model.embedding_storage = EmbeddingStorage::quantized;
  return model;
}

std::map<std::string, std::set<std::string>> names_by_group(const ModelConfig& model, const OptimizerConfig& config) {
  const auto specs = tensor_specs(model);
  std::map<std::string, std::set<std::string>> names;
  for (const ParameterGroup& group : parameter_groups(specs, config))
    for (const std::size_t i : group.members) EXPECT_TRUE(names[group.name].insert(specs[i].name).second);
  return names;
}

// The groups as presets.md describes them, written down by name.
std::map<std::string, std::set<std::string>> expected_unet(const ModelConfig& model) {
  std::map<std::string, std::set<std::string>> names;
  names["embedding"] = {"tok_emb.weight"};
  if (model.factored_embedding()) names["matrices"] = {"embed_proj.weight", "embed_proj_rev.weight"};
  for (std::int64_t i = 0; i < model.layers; ++i) {
    const std::string block = "blocks." + std::to_string(i) + ".";
    if (model.fused_qkv) names["matrices"].insert(block + "attn.c_qkv.weight");
    else for (const char* part : {"q", "k", "v"}) names["matrices"].insert(block + "attn.c_" + part + ".weight");
    for (const char* name : {"attn.proj.weight", "mlp.fc.weight", "mlp.proj.weight"}) names["matrices"].insert(block + name);
    for (const char* name : {"attn.q_gain", "attn_scale", "mlp_scale", "resid_mix"}) names["calibration"].insert(block + name);
  }
  names["calibration"].insert("skip_weights");
  if (model.vocab_bias) names["calibration"].insert("vocab_bias");
  return names;
}

TEST(ParameterGroups, UnetPresetsAsDescribed) {
  for (const ModelConfig& model : {quinary_16mb(), ternary_16mb(), bitnet_16mb()})
    EXPECT_EQ(names_by_group(model, {}), expected_unet(model));
}

TEST(ParameterGroups, CountsOfQuinary16mb) {
  const auto specs = tensor_specs(quinary_16mb());
  std::map<std::string, std::int64_t> counts;
  for (const ParameterGroup& group : parameter_groups(specs, {}))
    for (const std::size_t i : group.members) counts[group.name] += element_count(specs[i].shape);
  EXPECT_EQ(counts["calibration"], 42364);
  EXPECT_EQ(counts["embedding"], 16384 * 380);
  EXPECT_EQ(counts["matrices"], 36495360 + 2 * 576 * 380);
}

TEST(ParameterGroups, RatesRulesAndDecay) {
  OptimizerConfig config;
  config.muon_lr = 0.035, config.scalar_lr = 0.02, config.embedding_lr = 0.03, config.weight_decay = 0.1;
  const auto groups = parameter_groups(tensor_specs(quinary_16mb()), config);
  ASSERT_EQ(groups.size(), 3u);
  EXPECT_EQ(groups[0].rule, UpdateRule::muon);
  EXPECT_EQ(groups[0].learning_rate, 0.035);
  EXPECT_EQ(groups[0].weight_decay, 0.1);
  EXPECT_EQ(groups[1].rule, UpdateRule::adam);
  EXPECT_EQ(groups[1].learning_rate, 0.02);
  EXPECT_EQ(groups[1].weight_decay, 0.0);
  EXPECT_EQ(groups[2].learning_rate, 0.03);
}

TEST(ParameterGroups, AdamwTakesEverything) {
  OptimizerConfig config;
  config.kind = OptimizerKind::adamw, config.weight_decay = 0.1;
  for (const ModelConfig& model : {pentanet_124m(), quinary_16mb()}) {
    const auto specs = tensor_specs(model);
    const auto groups = parameter_groups(specs, config);
    ASSERT_EQ(groups.size(), 1u);
    EXPECT_EQ(groups[0].members.size(), specs.size());
    EXPECT_EQ(groups[0].rule, UpdateRule::adam);
    EXPECT_EQ(groups[0].learning_rate, 3e-4);
    EXPECT_EQ(groups[0].weight_decay, 0.1);
  }
}

TEST(ParameterGroups, MuonOnGpt2KeepsTablesAndGainsWithAdam) {
  const auto names = names_by_group(pentanet_124m(), {});
  EXPECT_EQ(names.at("embedding"), (std::set<std::string>{"transformer.wte.weight", "transformer.wpe.weight"}));
  EXPECT_EQ(names.at("calibration").size(), 25u);
  EXPECT_EQ(names.at("matrices").size(), 48u);
}

struct Toy {
  std::vector<TensorSpec> specs = {{"tok_emb.weight", {3, 4}, Storage::fp8, false},
                                   {"blocks.0.attn.proj.weight", {4, 4}, Storage::quantized, false},
                                   {"blocks.0.resid_mix", {2, 4}, Storage::fp16, true}};
  std::vector<torch::Tensor> values, gradients;
  Toy() {
    auto generator = at::make_generator<at::CPUGeneratorImpl>(11);
    for (const TensorSpec& spec : specs) {
      values.push_back(torch::randn(spec.shape, generator, torch::kFloat32));
      gradients.push_back(torch::randn(spec.shape, generator, torch::kFloat32) * 0.1);
    }
  }
};

// Adam in plain loops and double precision, from the paper.
std::vector<double> plain_adam(const torch::Tensor& start, const torch::Tensor& gradient, int steps, double rate,
                               double beta1, double beta2, double epsilon, double decay) {
  std::vector<double> result;
  for (std::int64_t i = 0; i < start.numel(); ++i) {
    double w = start.flatten()[i].item<float>(), m = 0, v = 0;
    for (int t = 1; t <= steps; ++t) {
      const double g = gradient.flatten()[i].item<double>() * (t % 3 - 1);
      w *= 1 - rate * decay;
      m = beta1 * m + (1 - beta1) * g;
      v = beta2 * v + (1 - beta2) * g * g;
      w -= rate * (m / (1 - std::pow(beta1, t))) / (std::sqrt(v / (1 - std::pow(beta2, t))) + epsilon);
    }
    result.push_back(w);
  }
  return result;
}

void expect_near(const torch::Tensor& values, const std::vector<double>& expected, double tolerance) {
  for (std::size_t i = 0; i < expected.size(); ++i)
    EXPECT_NEAR(values.flatten()[static_cast<std::int64_t>(i)].item<float>(), expected[i], tolerance) << i;
}

TEST(Optimizer, AdamAgainstPlainLoops) {
  for (const auto kind : {OptimizerKind::muon, OptimizerKind::adamw}) {
    Toy toy;
    OptimizerConfig config;
    config.kind = kind;
    config.weight_decay = kind == OptimizerKind::adamw ? 0.1 : 0.0;
    config.adamw_lr = 0.01;
    const std::vector<torch::Tensor> start = {toy.values[0].clone(), toy.values[1].clone(), toy.values[2].clone()};
    Optimizer optimizer(toy.specs, config, torch::kFloat32, torch::kCPU);
    for (int t = 1; t <= 7; ++t) {
      std::vector<torch::Tensor> gradients;
      for (const torch::Tensor& g : toy.gradients) gradients.push_back(g * static_cast<float>(t % 3 - 1));
      optimizer.step(toy.values, gradients, 0.5, 0.9);
    }
    // Rates of 0.01 times the factor 0.5.
    expect_near(toy.values[0], plain_adam(start[0], toy.gradients[0], 7, 0.005, 0.9, 0.95, 1e-8, config.weight_decay), 2e-6);
    expect_near(toy.values[2], plain_adam(start[2], toy.gradients[2], 7, 0.005, 0.9, 0.95, 1e-8, config.weight_decay), 2e-6);
    if (kind == OptimizerKind::adamw)
      expect_near(toy.values[1], plain_adam(start[1], toy.gradients[1], 7, 0.005, 0.9, 0.95, 1e-8, 0.1), 2e-6);
  }
}

// Muon's step in float64 by a singular value decomposition of the row-normed Nesterov direction.
TEST(Optimizer, MuonAgainstSingularValueDecomposition) {
  const std::vector<TensorSpec> specs = {{"blocks.0.mlp.fc.weight", {24, 8}, Storage::quantized, false}};
  auto generator = at::make_generator<at::CPUGeneratorImpl>(5);
  torch::Tensor value = torch::randn({24, 8}, generator, torch::kFloat32);
  OptimizerConfig config;
  config.muon_lr = 0.1, config.weight_decay = 0.2, config.muon_iterations = 3;
  Optimizer optimizer(specs, config, torch::kFloat32, torch::kCPU);
  torch::Tensor expected = value.to(torch::kFloat64), momentum = torch::zeros({24, 8}, torch::kFloat64);
  for (int t = 0; t < 4; ++t) {
    const torch::Tensor gradient = torch::randn({24, 8}, generator, torch::kFloat32);
    optimizer.step({value}, {gradient}, 0.5, 0.9);
    const torch::Tensor g = gradient.to(torch::kFloat64);
    momentum = 0.9 * momentum + g;
    torch::Tensor direction = g + 0.9 * momentum;
    direction = direction / (direction.square().mean(1, true) + std::ldexp(1.0, -23)).sqrt();
    const auto [u, singular, vh] = at::linalg_svd(direction, false);
    torch::Tensor s = singular / direction.norm();
    for (int i = 0; i < 3; ++i) s = 3.4445 * s - 4.7750 * s.pow(3) + 2.0315 * s.pow(5);
    expected = expected * (1 - 0.05 * 0.2) - 0.05 * std::sqrt(3.0) * torch::mm(u * s, vh);
  }
  EXPECT_LT((value.to(torch::kFloat64) - expected).abs().max().item<double>(), 1e-5);
}

TEST(Optimizer, ClipBoundsTheNormOfAllGradientsTogether) {
  Toy clipped, plain;
  OptimizerConfig config;
  config.clip = 0.25;
  Optimizer(clipped.specs, config, torch::kFloat32, torch::kCPU).step(clipped.values, clipped.gradients, 1, 0.9);
  EXPECT_NEAR(gradient_norm(clipped.gradients), 0.25, 1e-5);
  config.clip = 1e6;
  const double norm = gradient_norm(plain.gradients);
  Optimizer(plain.specs, config, torch::kFloat32, torch::kCPU).step(plain.values, plain.gradients, 1, 0.9);
  EXPECT_EQ(gradient_norm(plain.gradients), norm);
}

TEST(Optimizer, StateNamesEveryMoment) {
  Toy toy;
  const Optimizer optimizer(toy.specs, {}, torch::kFloat32, torch::kCPU);
  std::vector<std::string> names;
  for (const NamedTensor& entry : optimizer.state()) names.push_back(entry.name);
  EXPECT_THAT(names, ElementsAre("muon.momentum.blocks.0.attn.proj.weight", "adam.first.blocks.0.resid_mix",
                                 "adam.second.blocks.0.resid_mix", "adam.first.tok_emb.weight", "adam.second.tok_emb.weight"));
}

}  // namespace
}  // namespace par5
