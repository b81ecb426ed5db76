// The network against the double-precision reference.
#include <gtest/gtest.h>

#include <cmath>
#include <ostream>
#include <string>

#include "model/network.h"
#include "tests/model/random_model.h"
#include "tests/model/reference.h"

namespace par5 {
namespace {

struct Case {
  std::string name;
  ModelConfig model;
  QuantizerConfig quantizer;
  std::string error;  // why the preset could not be read
};

std::ostream& operator<<(std::ostream& out, const Case& c) { return out << c.name; }

// The preset of that name at a reduced size: the structure stays, counts and widths shrink.
Case reduced(const std::string& preset) {
  LoadedConfig loaded;
  const Status status = loaded.apply_file(std::string(PAR5_SOURCE_DIR) + "/configs/" + preset + ".toml");
  if (!status) return {preset, {}, {}, to_string(status.error())};
  ModelConfig& model = loaded.values().model;
  QuantizerConfig& quantizer = loaded.values().quantizer;
  const std::int64_t heads_per_kv = model.heads / model.kv_heads;
  model.kv_heads = 2;
  model.heads = 2 * heads_per_kv;
  if (model.factored_embedding()) model.embedding_width = 20;
  model.width = model.heads * 24;
  if (model.embedding_width > model.width || !loaded.values().model.factored_embedding())
    model.embedding_width = model.width;
  model.mlp_width = 4 * model.width;
  model.layers = 4;
  model.vocab = 150;
  model.context = 64;
  model.rope_max_context = 128;
  quantizer.group = model.width / 2;
  return {preset, model, quantizer, {}};
}

std::string label(const testing::TestParamInfo<Case>& info) {
  std::string name = info.param.name;
  for (char& c : name)
    if (!std::isalnum(static_cast<unsigned char>(c))) c = '_';
  return name;
}

std::vector<Case> cases() {
  std::vector<Case> all;
  for (const char* preset :
       {"quinary-16mb", "ternary-16mb", "bitnet-16mb", "quinary-small", "pentanet-124m", "bitnet-124m"})
    all.push_back(reduced(preset));
  const Case unet = reduced("quinary-16mb"), gpt2 = reduced("pentanet-124m");
  const auto variant = [&](const Case& base, const std::string& name, auto&& change) {
    Case changed = base;
    changed.name = name;
    change(changed.model, changed.quantizer);
    all.push_back(changed);
  };
  for (const std::int64_t layers : {1, 2, 3, 5})
    variant(unet, "layers_" + std::to_string(layers), [&](ModelConfig& m, QuantizerConfig&) { m.layers = layers; });
  const char* activations[] = {"relu2", "leaky_relu2", "swiglu", "gelu"};
  for (int i = 0; i < 4; ++i) {
    variant(unet, std::string("unet_") + activations[i],
            [&](ModelConfig& m, QuantizerConfig&) { m.activation = static_cast<Activation>(i); });
    if (i != 2)
      variant(gpt2, std::string("gpt2_") + activations[i],
              [&](ModelConfig& m, QuantizerConfig&) { m.activation = static_cast<Activation>(i); });
  }
  const char* softcaps[] = {"none", "tanh", "poly5"};
  for (int i = 0; i < 3; ++i)
    variant(unet, std::string("softcap_") + softcaps[i], [&](ModelConfig& m, QuantizerConfig&) {
      m.softcap = static_cast<Softcap>(i);
      m.softcap_value = 3.0;
    });
  const char* norms[] = {"none", "outputs", "all"};
  for (int i = 0; i < 3; ++i) {
    variant(unet, std::string("layer_norm_linear_norm_") + norms[i], [&](ModelConfig& m, QuantizerConfig&) {
      m.norm = Norm::layer;
      m.linear_norm = static_cast<LinearNorm>(i);
    });
    variant(gpt2, std::string("gpt2_rms_norm_linear_norm_") + norms[i], [&](ModelConfig& m, QuantizerConfig&) {
      m.norm = Norm::rms;
      m.linear_norm = static_cast<LinearNorm>(i);
    });
    variant(unet, std::string("linear_norm_") + norms[i],
            [&](ModelConfig& m, QuantizerConfig&) { m.linear_norm = static_cast<LinearNorm>(i); });
  }
  variant(unet, "split_qkv_no_bias_fp16_embedding", [](ModelConfig& m, QuantizerConfig&) {
    m.fused_qkv = false;
    m.vocab_bias = false;
    m.embedding_storage = EmbeddingStorage::fp16;
    m.embedding_width = m.width;
  });
  variant(unet, "quantized_embedding", [](ModelConfig& m, QuantizerConfig&) {
    m.embedding_storage = EmbeddingStorage::quantized;
    m.embedding_width = m.width;
  });
  variant(unet, "one_kv_head", [](ModelConfig& m, QuantizerConfig&) { m.kv_heads = 1; });
  variant(unet, "no_yarn", [](ModelConfig& m, QuantizerConfig&) { m.rope_scaling = RopeScaling::none; });
  for (int i = 0; i < 9; ++i)
    variant(unet, "grid_" + std::string(grid_name(static_cast<Grid>(i))),
            [&](ModelConfig&, QuantizerConfig& q) { q.grid = static_cast<Grid>(i); });
  variant(unet, "row_scales", [](ModelConfig&, QuantizerConfig& q) { q.granularity = Granularity::row; });
  variant(unet, "tensor_scales", [](ModelConfig&, QuantizerConfig& q) { q.granularity = Granularity::tensor; });
  return all;
}

struct Difference {
  double relative = 0;  // ‖Δ‖ / ‖reference‖
  double largest = 0;   // max |Δ| / RMS of the reference
};

Difference difference(const torch::Tensor& ours, const std::vector<double>& theirs) {
  const torch::Tensor values = ours.detach().to(torch::kFloat64).flatten().contiguous();
  EXPECT_EQ(static_cast<std::size_t>(values.numel()), theirs.size());
  double squares = 0, reference = 0, largest = 0;
  for (std::size_t i = 0; i < theirs.size(); ++i) {
    const double delta = values.const_data_ptr<double>()[i] - theirs[i];
    squares += delta * delta, reference += theirs[i] * theirs[i], largest = std::max(largest, std::abs(delta));
  }
  return {std::sqrt(squares / reference), largest / std::sqrt(reference / static_cast<double>(theirs.size()))};
}

void check_parity(const Case& c, std::int64_t length, Kernels kernels) {
  ASSERT_EQ(c.error, "");
  const StoredModel stored = testing_support::random_model(c.model, c.quantizer, 11);
  Network network(c.model, torch::kCPU, torch::kFloat32, kernels);
  ASSERT_TRUE(network.load(stored));
  std::vector<std::int64_t> tokens = testing_support::random_tokens(length + 1, c.model.vocab, 7);
  const torch::Tensor all = torch::tensor(tokens).view({1, -1});
  const torch::Tensor inputs = all.narrow(1, 0, length), targets = all.narrow(1, 1, length);
  const std::vector<std::int64_t> given(tokens.begin(), tokens.end() - 1), wanted(tokens.begin() + 1, tokens.end());
  const std::vector<double> expected = reference::logits(stored, given);
  // A second sequence in the batch must change nothing.
  const torch::Tensor batch = at::cat({inputs, inputs.flip(1)});
  const torch::Tensor hidden = network.hidden(batch);
  const Difference found = difference(network.logits(hidden[0]), expected);
  EXPECT_LE(found.relative, 1e-5);
  EXPECT_LE(found.largest, 1e-4);
  testing::Test::RecordProperty("relative", std::to_string(found.relative));
  const double loss = reference::loss(expected, wanted, c.model.vocab, 1e-3);
  EXPECT_NEAR(network.loss(inputs, targets, 1e-3).total.item<double>(), loss, 1e-5 * std::abs(loss));
  const double nats = reference::loss(expected, wanted, c.model.vocab, 0);
  EXPECT_NEAR(network.nats(hidden[0], targets[0]).mean().item<double>(), nats, 1e-5 * std::abs(nats));
  EXPECT_NEAR(network.loss(inputs, targets, 1e-3).cross_entropy.item<double>(), nats, 1e-5 * std::abs(nats));
}

class Parity : public testing::TestWithParam<Case> {};

TEST_P(Parity, EagerNetworkAgreesWithTheReference) { check_parity(GetParam(), 48, Kernels::eager); }
TEST_P(Parity, FusedNetworkAgreesWithTheReference) { check_parity(GetParam(), 48, Kernels::automatic); }
INSTANTIATE_TEST_SUITE_P(Reduced, Parity, testing::ValuesIn(cases()), label);

class FullSize : public testing::TestWithParam<const char*> {};
TEST_P(FullSize, LongNetworkAgreesWithTheReference) {
  LoadedConfig loaded;
  const Status status = loaded.apply_file(std::string(PAR5_SOURCE_DIR) + "/configs/" + GetParam() + ".toml");
  ASSERT_TRUE(status) << to_string(status.error());
  check_parity({GetParam(), loaded.values().model, loaded.values().quantizer, {}}, 8, Kernels::automatic);
}
INSTANTIATE_TEST_SUITE_P(Presets, FullSize,
                         testing::Values("quinary-16mb", "ternary-16mb", "bitnet-16mb", "quinary-small",
                                         "pentanet-124m", "bitnet-124m"));

}  // namespace
}  // namespace par5
