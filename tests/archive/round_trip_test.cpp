#include <gtest/gtest.h>

#include <algorithm>

#include "models.h"
#include "reference.h"

namespace par5 {
namespace {

using test::random_artifact;
using test::small_model;
using test::small_quantizer;
using test::small_tokenizer;

// Encodes with 1, 2 and 8 threads, decodes, and holds the report to the byte.
std::vector<std::byte> round_trip(const Artifact& artifact, const std::string& what, int effort = 1) {
  SCOPED_TRACE(what);
  const auto encoded = encode_artifact(artifact, {effort, 1});
  if (!encoded) {
    ADD_FAILURE() << to_string(encoded.error());
    return {};
  }
  for (const std::size_t threads : {2, 8}) {
    const auto again = encode_artifact(artifact, {effort, threads});
    EXPECT_TRUE(again && again->bytes == encoded->bytes) << threads << " threads give other bytes";
  }
  const auto decoded = decode_artifact(encoded->bytes, "test.par5");
  if (!decoded) {
    ADD_FAILURE() << to_string(decoded.error());
    return {};
  }
  EXPECT_TRUE(same_artifact(artifact, decoded->artifact));
  test::expect_reference_agrees(encoded->bytes, artifact);
  const ArtifactReport& report = decoded->report;
  EXPECT_EQ(report.file_bytes, encoded->bytes.size());
  EXPECT_EQ(report.quantised_bytes + report.float_bytes + report.scale_bytes + report.tokenizer_bytes +
                report.metadata_bytes + report.checksum_bytes,
            report.file_bytes);
  std::uint64_t offset = 0;
  for (const ArtifactSection& section : report.sections) {
    EXPECT_EQ(section.offset, offset) << section.name;
    offset += section.bytes;
  }
  EXPECT_EQ(offset, report.file_bytes);
  std::uint64_t streams = 0;
  for (const TensorReport& tensor : report.tensors)
    for (const StreamReport& stream : tensor.streams) streams += stream.stored_bytes;
  EXPECT_EQ(streams, report.quantised_bytes + report.float_bytes + report.scale_bytes);
  return encoded->bytes;
}

TEST(RoundTrip, EveryGridGranularityAndScaleWidth) {
  ModelConfig model = small_model();
  model.layers = 1;
  model.width = 24;
  model.heads = 2;
  model.kv_heads = 1;
  model.mlp_width = 36;
  model.vocab = 40;
  model.embedding_width = 12;
  for (int grid = 0; grid <= static_cast<int>(Grid::int8); ++grid)
    for (const Granularity granularity : {Granularity::group, Granularity::row, Granularity::tensor})
      for (const int bits : {16, 4, 5, 6, 8}) {
        QuantizerConfig quantizer = small_quantizer(static_cast<Grid>(grid));
        quantizer.granularity = granularity;
        quantizer.group = 12;
        quantizer.scale_bits = bits;
        if (granularity != Granularity::group && bits != 16 && bits != 5) continue;
        round_trip(random_artifact(model, quantizer), std::string(grid_name(quantizer.grid)) + " " +
                                                          std::to_string(static_cast<int>(granularity)) + " " +
                                                          std::to_string(bits));
      }
}

TEST(RoundTrip, EveryArchitecture) {
  ModelConfig model = small_model();
  round_trip(random_artifact(model, small_quantizer()), "unet");
  model.embedding_storage = EmbeddingStorage::fp16;
  model.activation = Activation::swiglu;
  model.fused_qkv = false;
  model.vocab_bias = false;
  model.layers = 3;
  model.softcap = Softcap::tanh;
  model.softcap_value = 30.25;
  model.rope_base = 10000.5;
  model.rope_scaling = RopeScaling::none;
  model.rope_angles = RopeAngles::bfloat16;
  model.q_gain_init = 1.5;
  model.dropout = 0.1;
  model.linear_norm = LinearNorm::all;
  round_trip(random_artifact(model, small_quantizer()), "unet with everything changed");
  model = small_model();
  model.embedding_width = model.width;
  model.embedding_storage = EmbeddingStorage::quantized;
  round_trip(random_artifact(model, small_quantizer(Grid::ternary)), "quantised embedding");
  model.backbone = Backbone::gpt2;
  model.kv_heads = model.heads;
  model.activation = Activation::gelu;
  model.norm = Norm::layer;
  model.embedding_storage = EmbeddingStorage::fp8;
  round_trip(random_artifact(model, small_quantizer(Grid::septenary)), "gpt2");
}

TEST(RoundTrip, EveryEffort) {
  const Artifact artifact = random_artifact(small_model(), small_quantizer());
  std::vector<std::size_t> sizes;
  for (const int effort : {0, 3, 5, 7})
    sizes.push_back(round_trip(artifact, "effort " + std::to_string(effort), effort).size());
  // What leaves a chain may make the rest of it a few bytes larger.
  for (std::size_t i = 1; i < sizes.size(); ++i) EXPECT_LE(sizes[i], sizes[i - 1] + 64);
}

TEST(RoundTrip, TokenizerFactsAndExtras) {
  Artifact artifact = random_artifact(small_model(), small_quantizer());
  artifact.tokenizer = small_tokenizer();
  artifact.tokenizer_sha256 = std::string(64, 'c');
  artifact.temperature = 0.9375;
  artifact.self_test = {{{1, 2, 299, 65535}, 123456789012345ull}, {{}, 0}};
  artifact.extras = {{"a.integer", false, std::uint64_t{1} << 63},
                     {"b.number", false, -0.1},
                     {"c.text", false, std::string("\xc3\xa9")},
                     {"d.bytes", false, std::vector<std::byte>(300, std::byte{7})}};
  round_trip(artifact, "everything", 5);
  for (StoredTensor& tensor : artifact.model.tensors)
    if (auto* fp8 = std::get_if<Fp8Tensor>(&tensor.data)) fp8->exponent = -5;
  round_trip(artifact, "fp8 exponents");

  artifact.tokenizer->pieces[270].score = -3.25f;  // not a rank any more
  std::swap(artifact.tokenizer->pieces[10], artifact.tokenizer->pieces[20]);
  artifact.tokenizer->model_type = "unigram";
  artifact.tokenizer->normalizer_map.assign(1000, 5);
  round_trip(artifact, "an unusual tokenizer");
}

TEST(RoundTrip, RefusesWhatContradictsItself) {
  const Artifact good = random_artifact(small_model(), small_quantizer());
  Artifact artifact = good;
  artifact.tokenizer = small_tokenizer(299);
  EXPECT_EQ(encode_artifact(artifact, {0, 1}).error().code, ErrorCode::bad_data);
  artifact = good;
  std::get<QuantizedTensor>(artifact.model.tensors[3].data).scales.pop_back();
  EXPECT_EQ(encode_artifact(artifact, {0, 1}).error().code, ErrorCode::bad_data);
  artifact = good;
  artifact.model.tensors.pop_back();
  EXPECT_EQ(encode_artifact(artifact, {0, 1}).error().code, ErrorCode::bad_data);
  artifact = good;
  artifact.tokenizer_sha256 = "xyz";
  EXPECT_EQ(encode_artifact(artifact, {0, 1}).error().code, ErrorCode::bad_data);
}

}  // namespace
}  // namespace par5
