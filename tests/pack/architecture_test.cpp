#include "pack/architecture.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>

#include "pack/statistics.h"
#include "pack/stored_model.h"

namespace par5 {
namespace {

using testing::HasSubstr;

ModelConfig gpt2_large() {
  ModelConfig model;
  model.backbone = Backbone::gpt2;
  model.layers = 12;
  model.width = model.embedding_width = 768;
  model.heads = model.kv_heads = 12;
  model.mlp_width = 3072;
  model.activation = Activation::gelu;
  model.vocab = 50257;
  model.context = 512;
  model.embedding_storage = EmbeddingStorage::quantized;
  model.vocab_bias = false;
  model.norm = Norm::layer;
  model.linear_norm = LinearNorm::none;
  model.rope_scaling = RopeScaling::none;
  model.softcap = Softcap::none;
  return model;
}

void expect_counts(const ModelConfig& model, std::int64_t quantized, std::int64_t embedding, std::int64_t calibration,
                   std::int64_t total) {
  const ParameterCounts counts = count_parameters(model);
  EXPECT_EQ(counts.quantized, quantized);
  EXPECT_EQ(counts.embedding, embedding);
  EXPECT_EQ(counts.calibration, calibration);
  EXPECT_EQ(counts.total(), total);
}

// The published counts, from values written here; tests/pack/presets_test.cpp checks the same of configs/.
TEST(Architecture, CountsOfThePublishedConfigurations) {
  ModelConfig quinary;
  quinary.layers = 10;
  quinary.width = 576;
  quinary.heads = 6;
  quinary.kv_heads = 3;
  quinary.mlp_width = 2304;
  quinary.vocab = 16384;
  quinary.embedding_width = 380;
  expect_counts(quinary, 36'495'360, 6'663'680, 42'364, 43'201'404);

  ModelConfig ternary = quinary;
  ternary.width = 768;
  ternary.heads = 8;
  ternary.kv_heads = 4;
  ternary.mlp_width = 3072;
  ternary.vocab = 8192;
  ternary.embedding_width = 254;
  expect_counts(ternary, 64'880'640, 2'470'912, 42'832, 67'394'384);

  ModelConfig bitnet = ternary;
  bitnet.layers = 12;
  bitnet.heads = 12;
  bitnet.kv_heads = 6;
  bitnet.mlp_width = 2496;
  bitnet.vocab = 1024;
  bitnet.embedding_width = 768;
  bitnet.fused_qkv = false;
  bitnet.vocab_bias = false;
  expect_counts(bitnet, 67'239'936, 786'432, 41'616, 68'067'984);

  EXPECT_EQ(count_parameters(gpt2_large()).total(), 123'944'448);
}

TEST(Architecture, PartsSplitFusedMatricesOnly) {
  const ModelConfig model;  // quinary-16mb
  for (const TensorSpec& spec : tensor_specs(model)) {
    const auto parts = tensor_parts(spec, model);
    if (spec.name != "blocks.3.attn.c_qkv.weight") {
      if (spec.name.find("c_qkv") == std::string::npos) {
        ASSERT_EQ(parts.size(), 1u);
        EXPECT_EQ(parts[0].name, spec.name);
        EXPECT_EQ(parts[0].rows, spec.shape[0]);
      }
      continue;
    }
    ASSERT_EQ(parts.size(), 3u);
    EXPECT_EQ(parts[0].name, "blocks.3.attn.c_qkv.weight:q");
    EXPECT_EQ(parts[1].first_row, 576);
    EXPECT_EQ(parts[1].rows, 288);
    EXPECT_EQ(parts[2].first_row, 864);
    EXPECT_EQ(parts[2].first_row + parts[2].rows, spec.shape[0]);
  }
  const ModelConfig gpt2 = gpt2_large();
  const auto parts = tensor_parts({"transformer.h.0.attn.c_attn.weight", {2304, 768}, Storage::quantized, false}, gpt2);
  ASSERT_EQ(parts.size(), 3u);
  EXPECT_EQ(parts[2].first_row, 1536);
  EXPECT_EQ(parts[2].rows, 768);
}

// A small checkpoint in memory: what match_tensors has to sort out.
struct Checkpoint {
  ModelConfig model;
  std::vector<Tensor> tensors;

  Checkpoint() {
    model.layers = 2;
    model.width = 16;
    model.heads = 2;
    model.kv_heads = 1;
    model.mlp_width = 32;
    model.vocab = 32;
    model.embedding_width = 8;
    for (const TensorSpec& spec : tensor_specs(model)) add(spec.name, spec.shape, 0.25f);
  }
  void add(const std::string& name, const Shape& shape, float value) {
    tensors.push_back(
        Tensor::from_floats(name, shape, std::vector<float>(static_cast<std::size_t>(element_count(shape)), value)));
  }
  // Writes, reads and matches.
  Result<MatchedTensors> match(const std::map<std::string, std::string>& metadata = {}) {
    P5_TRY(const TemporaryFolder folder, TemporaryFolder::create());
    const std::string path = join_path(folder.path(), "c.safetensors");
    std::vector<TensorView> views;
    for (const Tensor& tensor : tensors) views.push_back(tensor.view());
    P5_OK(write_safetensors(path, views, metadata, Overwrite::no));
    P5_TRY(file, SafetensorsFile::open(path));
    return match_tensors(*file, model, "c.safetensors");
  }
  tl::expected<SafetensorsFile, Error> file = internal_error("not read yet");
};

TEST(Architecture, MatchDropsExtrasThatCarryNothingAndNamesThem) {
  Checkpoint checkpoint;
  checkpoint.add("blocks.0.mlp.fc.scale_correction", {4}, 1.0f);
  checkpoint.add("lm_head.weight", {32, 16}, 0.5f);
  const auto matched = checkpoint.match();
  ASSERT_TRUE(matched) << to_string(matched.error());
  EXPECT_EQ(matched->dropped, (std::vector<std::string>{"blocks.0.mlp.fc.scale_correction", "lm_head.weight"}));
  ASSERT_EQ(matched->specs.size(), tensor_specs(checkpoint.model).size());
  for (std::size_t i = 0; i < matched->specs.size(); ++i) EXPECT_EQ(matched->specs[i].name, matched->tensors[i].name);
}

TEST(Architecture, MatchRefusesUnknownMissingAndMisshapenTensors) {
  {
    Checkpoint checkpoint;
    checkpoint.add("blocks.0.mlp.gate.scale_correction", {4}, 1.001f);
    const auto matched = checkpoint.match();
    ASSERT_FALSE(matched);
    EXPECT_EQ(matched.error().code, ErrorCode::bad_data);
    EXPECT_EQ(matched.error().key, "blocks.0.mlp.gate.scale_correction");
  }
  {
    Checkpoint checkpoint;
    checkpoint.tensors.erase(checkpoint.tensors.begin() + 5);
    const std::string missing = tensor_specs(checkpoint.model)[5].name;
    const auto matched = checkpoint.match();
    ASSERT_FALSE(matched);
    EXPECT_THAT(matched.error().message, HasSubstr("lacks the tensor '" + missing + "'"));
  }
  {
    Checkpoint checkpoint;
    checkpoint.model.vocab = 33;
    const auto matched = checkpoint.match();
    ASSERT_FALSE(matched);
    EXPECT_THAT(matched.error().message, HasSubstr("tensor 'tok_emb.weight' in 'c.safetensors' has the shape [32, 8]"));
    EXPECT_THAT(matched.error().message, HasSubstr("[33, 8]"));
  }
}

TEST(Architecture, LearnedScaleCorrectionsEnterTheStoredScales) {
  Checkpoint checkpoint;
  QuantizerConfig quantizer;
  quantizer.group = 16;
  checkpoint.add("blocks.0.mlp.fc.scale_correction", {32}, 1.5f);
  const auto matched = checkpoint.match();
  ASSERT_TRUE(matched) << to_string(matched.error());
  EXPECT_TRUE(matched->dropped.empty());
  const auto stored = store_checkpoint(*matched, checkpoint.model, quantizer);
  ASSERT_TRUE(stored) << to_string(stored.error());
  // All weights are 0.25: code 1, scale 0.25, times what was learned.
  for (const float value : stored->find("blocks.0.mlp.fc.weight")->values()) EXPECT_EQ(value, 0.375f);
  for (const float value : stored->find("blocks.1.mlp.fc.weight")->values()) EXPECT_EQ(value, 0.25f);

  for (const auto& [shape, value] :
       {std::pair{Shape{31}, 1.5f}, {Shape{32}, 0.0f}, {Shape{32}, -1.0f}, {Shape{32}, 1e9f}}) {
    Checkpoint bad;
    bad.add("blocks.0.mlp.fc.scale_correction", shape, value);
    const auto refused = store_checkpoint(bad.match().value(), bad.model, quantizer);
    ASSERT_FALSE(refused) << value;
    EXPECT_EQ(refused.error().code, ErrorCode::bad_data);
    EXPECT_EQ(refused.error().key, "blocks.0.mlp.fc.weight");
  }
}

TEST(Architecture, CheckpointsCarryTheirConfiguration) {
  Checkpoint checkpoint;
  LoadedConfig config;
  config.values().model = checkpoint.model;
  config.values().quantizer.grid = Grid::ternary;
  config.values().quantizer.group = 8;
  ASSERT_TRUE(checkpoint.match(checkpoint_metadata(config)));
  const auto read = checkpoint_config(*checkpoint.file, "c.safetensors", "");
  ASSERT_TRUE(read) << to_string(read.error());
  EXPECT_EQ(read->values().model, checkpoint.model);
  EXPECT_EQ(read->values().quantizer, config.values().quantizer);

  Checkpoint foreign;
  ASSERT_TRUE(foreign.match());
  const auto unknown = checkpoint_config(*foreign.file, "c.safetensors", "");
  ASSERT_FALSE(unknown);
  EXPECT_EQ(unknown.error().code, ErrorCode::usage);
  EXPECT_THAT(unknown.error().message, HasSubstr("--config"));
}

// The really trained checkpoint that lies beside the sources on machines that have it.
TEST(Architecture, TrainedCheckpointMatchesItsPresetAndIsStored) {
  const char* shared = std::getenv("PAR5_SHARED");
  const std::string folder = shared ? shared : std::string(PAR5_SOURCE_DIR) + "/../shared";
  const std::string path = folder + "/data/checkpoints/quinary-small-trained.safetensors";
  if (!file_exists(path)) GTEST_SKIP() << "'" << path << "' is not here; name its folder with PAR5_SHARED";
  const auto file = SafetensorsFile::open(path);
  ASSERT_TRUE(file) << to_string(file.error());
  EXPECT_FALSE(checkpoint_config(*file, path, ""));
  const auto config = checkpoint_config(*file, path, std::string(PAR5_SOURCE_DIR) + "/configs/quinary-small.toml");
  ASSERT_TRUE(config) << to_string(config.error());
  const Config& values = config->values();
  const auto matched = match_tensors(*file, values.model, path);
  ASSERT_TRUE(matched) << to_string(matched.error());
  EXPECT_EQ(matched->dropped.size(), file->tensors().size() - matched->specs.size());
  EXPECT_GT(matched->dropped.size(), 0u);
  for (const std::string& name : matched->dropped) EXPECT_THAT(name, HasSubstr("scale_correction"));

  const auto stored = store_checkpoint(*matched, values.model, values.quantizer, 2);
  ASSERT_TRUE(stored) << to_string(stored.error());
  std::int64_t weights = 0;
  double order0 = 0, bits[2] = {};
  std::int64_t scales = 0;
  for (const StoredTensor& tensor : stored->tensors) {
    const auto* quantized = std::get_if<QuantizedTensor>(&tensor.data);
    if (!quantized) continue;
    weights += static_cast<std::int64_t>(quantized->codes.size());
    scales += static_cast<std::int64_t>(quantized->scales.size());
    for (const TensorPart& part : tensor_parts(tensor.spec, values.model)) {
      const auto columns = static_cast<std::size_t>(tensor.spec.shape[1]);
      order0 += level_statistics(values.quantizer.grid, std::span(quantized->codes)
                                                            .subspan(static_cast<std::size_t>(part.first_row) * columns,
                                                                     static_cast<std::size_t>(part.rows) * columns))
                    .order0_bytes;
    }
    for (const int width : {4, 5}) {
      const double error = scale_error(*quantized, fit_scale_deltas(*quantized, width)).rms_log2;
      bits[width - 4] += error * error * static_cast<double>(quantized->scales.size());
    }
  }
  EXPECT_EQ(weights, 1'622'016);
  // Quantising float32 weights with fp16 scales gives the published order-0 entropy (its weights were bfloat16).
  EXPECT_NEAR(order0, 439'931, 50);
  std::printf("%lld weights, order-0 entropy %.0f bytes; scale error (RMS): 4 bits %.3f %%, 5 bits %.3f %%\n",
              static_cast<long long>(weights), order0,
              100 * (std::exp2(std::sqrt(bits[0] / static_cast<double>(scales))) - 1),
              100 * (std::exp2(std::sqrt(bits[1] / static_cast<double>(scales))) - 1));
}

}  // namespace
}  // namespace par5
