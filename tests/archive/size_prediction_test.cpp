// The predicted size beside the packed one, and what it depends on.
#include "archive/size_prediction.h"

#include <gtest/gtest.h>

#include <cmath>

#include "bench/model_states.h"
#include "models.h"

namespace par5 {
namespace {

Artifact state(bench::Structure structure, double strength, std::int64_t layers = 2) {
  ModelConfig model = test::small_model();
  model.layers = layers;
  model.width = 192;
  model.mlp_width = 384;
  model.vocab = 1024;
  model.embedding_width = 64;
  QuantizerConfig quantizer = test::small_quantizer();
  quantizer.group = 96;
  Artifact artifact;
  artifact.model = bench::random_state(model, quantizer, structure, 3, strength).value();
  apply_scale_bits(artifact.model, 5);
  return artifact;
}

double off_by_percent(const Artifact& artifact, std::uint64_t symbols) {
  const auto packed = encode_artifact(artifact, {});
  const auto estimate = predict_size(artifact, {symbols, 2});
  EXPECT_TRUE(packed && estimate);
  if (!packed || !estimate) return INFINITY;
  EXPECT_EQ(estimate->file_bytes, estimate->quantised_bytes + estimate->float_bytes + estimate->scale_bytes +
                                      estimate->tokenizer_bytes + estimate->metadata_bytes + estimate->checksum_bytes);
  return 100 * std::abs(static_cast<double>(estimate->file_bytes) / static_cast<double>(packed->bytes.size()) - 1);
}

TEST(SizePrediction, SmallModelsAreCodedWhole) {
  const Artifact artifact = state(bench::Structure::columns, 1);
  EXPECT_LT(off_by_percent(artifact, 4000000), 0.02);
  EXPECT_EQ(predict_size(artifact, {4000000, 2})->coded_share, 1);
}

TEST(SizePrediction, SamplesOfLargerOnesComeNear) {
  for (const double strength : {0.5, 1.0}) {
    const Artifact artifact = state(bench::Structure::columns, strength);
    EXPECT_LT(off_by_percent(artifact, 150000), 0.5) << strength;
    EXPECT_LT(predict_size(artifact, {150000, 2})->coded_share, 0.5);
  }
}

// What the coder learns only from many rows of a matrix: whole layers are coded, and rows of the embeddings.
TEST(SizePrediction, CorrelationsBetweenColumns) {
  const Artifact artifact = state(bench::Structure::low_rank, 1, 4);
  EXPECT_LT(off_by_percent(artifact, 500000), 0.3);
  EXPECT_LT(predict_size(artifact, {500000, 2})->coded_share, 0.6);
}

TEST(SizePrediction, ClosedFormsAlone) {
  const Artifact artifact = state(bench::Structure::columns, 1);
  EXPECT_LT(off_by_percent(artifact, 0), 2);
  EXPECT_EQ(predict_size(artifact, {0, 2})->coded_share, 0);
}

TEST(SizePrediction, DoesNotDependOnThreads) {
  const Artifact artifact = state(bench::Structure::columns, 1);
  for (const std::uint64_t symbols : {0, 100000, 4000000})
    EXPECT_EQ(predict_size(artifact, {symbols, 1})->file_bytes, predict_size(artifact, {symbols, 8})->file_bytes);
}

TEST(SizePrediction, EveryGridAndTokenizer) {
  for (const Grid grid : {Grid::binary, Grid::ternary, Grid::septenary, Grid::int4, Grid::int8}) {
    Artifact artifact = test::random_artifact(test::small_model(), test::small_quantizer(grid));
    artifact.tokenizer = test::small_tokenizer();
    artifact.self_test = {{{1, 2, 3}, 1000}};
    const auto packed = encode_artifact(artifact, {});
    const auto estimate = predict_size(artifact);
    ASSERT_TRUE(packed && estimate);
    EXPECT_EQ(estimate->tokenizer_bytes, packed->report.tokenizer_bytes);
    EXPECT_NEAR(static_cast<double>(estimate->file_bytes), static_cast<double>(packed->bytes.size()),
                0.01 * static_cast<double>(packed->bytes.size()))
        << grid_name(grid);
  }
}

// What training begins with: output projections that are all zero.
TEST(SizePrediction, AllZeroMatrices) {
  Artifact artifact = state(bench::Structure::independent, 1);
  for (StoredTensor& tensor : artifact.model.tensors)
    if (tensor.spec.name.find("proj.weight") != std::string::npos &&
        std::holds_alternative<QuantizedTensor>(tensor.data)) {
      const std::vector<float> zeros(static_cast<std::size_t>(element_count(tensor.spec.shape)));
      tensor = store_tensor(tensor.spec, zeros, artifact.model.quantizer).value();
    }
  EXPECT_LT(off_by_percent(artifact, 150000), 0.5);
  EXPECT_LT(off_by_percent(artifact, 4000000), 0.2);
}

}  // namespace
}  // namespace par5
