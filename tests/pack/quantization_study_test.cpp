#include "pack/quantization_study.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "pack/quantizer.h"

namespace par5 {
namespace {

std::vector<float> gaussian(std::size_t count) {
  std::mt19937 generator(3);
  std::normal_distribution<float> normal(0.0f, 0.02f);
  std::vector<float> values(count);
  for (float& value : values) value = normal(generator);
  return values;
}

TEST(QuantizationStudy, AgreesWithTheQuantiser) {
  const Shape shape{24, 384};
  const auto weights = gaussian(24 * 384);
  for (const StudySetting& setting : study_settings(std::vector<std::int64_t>{64, 128})) {
    if (is_absmax(setting.grid) != (setting.rule == ScaleRule::absmax)) continue;
    QuantizerConfig config;
    config.grid = setting.grid;
    config.granularity = setting.granularity;
    config.group = setting.group;
    std::vector<float> rounded(weights.size());
    ASSERT_TRUE(quantize_dequantize("w", shape, weights, config, rounded));
    double error = 0;
    for (std::size_t i = 0; i < weights.size(); ++i)
      error += (double{weights[i]} - rounded[i]) * (double{weights[i]} - rounded[i]);
    const auto result = study_tensor("w", 24, 384, weights, setting);
    ASSERT_TRUE(result);
    EXPECT_NEAR(result->error / error, 1, 1e-5) << grid_name(setting.grid);
  }
}

TEST(QuantizationStudy, KnownValuesForAGaussian) {
  // Absmean ternary of N(0, 1): codes 0 and ±1 with threshold and step sqrt(2/π); shares 0.3101 and 0.3449 on each
  // side.
  const auto weights = gaussian(1 << 18);
  const auto ternary =
      study_tensor("w", 512, 512, weights, {Grid::ternary, ScaleRule::absmean, Granularity::tensor, 0});
  ASSERT_TRUE(ternary);
  EXPECT_NEAR(ternary->entropy_per_weight(), -(0.3101 * std::log2(0.3101) + 2 * 0.34495 * std::log2(0.34495)), 2e-3);
  // 1 - 2 s E|w|[|w| > s/2] + s² P(|w| > s/2) with s = 0.79788: 0.1903 … in units of the variance.
  const double s = std::sqrt(2 / std::acos(-1.0)), t = s / 2;
  const double first = 2 * std::exp(-t * t / 2) / std::sqrt(2 * std::acos(-1.0)), mass = std::erfc(t / std::sqrt(2.0));
  EXPECT_NEAR(ternary->error / ternary->signal, 1 - 2 * s * first + s * s * mass, 5e-3);
  EXPECT_NEAR(ternary->packed_bytes_per_weight(), 0.2, 1e-4);
  const auto int8 = study_tensor("w", 512, 512, weights, {Grid::int8, ScaleRule::absmax, Granularity::group, 128});
  ASSERT_TRUE(int8);
  EXPECT_GT(int8->snr_db(), 40);
  EXPECT_GT(int8->cosine(), 0.9999);
  EXPECT_NEAR(int8->packed_bytes_per_weight(), 1 + 2.0 / 128, 1e-9);
}

TEST(QuantizationStudy, EdgesAndKinds) {
  const std::vector<float> zeros(64, 0.0f);
  const auto nothing = study_tensor("w", 8, 8, zeros, {Grid::quinary, ScaleRule::absmean, Granularity::row, 0});
  ASSERT_TRUE(nothing);
  EXPECT_EQ(nothing->mse(), 0);
  EXPECT_EQ(nothing->cosine(), 1);
  const auto ragged =
      study_tensor("w", 2, 10, gaussian(20), {Grid::quinary, ScaleRule::absmean, Granularity::group, 4});
  ASSERT_TRUE(ragged);
  EXPECT_EQ(ragged->scales, 6);
  std::vector<float> bad = gaussian(64);
  bad[9] = NAN;
  EXPECT_EQ(study_tensor("w", 8, 8, bad, {Grid::quinary, ScaleRule::absmean, Granularity::tensor, 0}).error().code,
            ErrorCode::bad_data);
  EXPECT_EQ(layer_kind("blocks.3.attn.c_qkv.weight"), "attention input");
  EXPECT_EQ(layer_kind("blocks.3.attn.proj.weight"), "attention output");
  EXPECT_EQ(layer_kind("blocks.3.mlp.fc.weight"), "mlp input");
  EXPECT_EQ(layer_kind("blocks.3.mlp.proj.weight"), "mlp output");
  EXPECT_EQ(layer_kind("model.layers.1.mlp.down_proj.weight"), "mlp output");
  EXPECT_EQ(layer_kind("model.layers.1.self_attn.o_proj.weight"), "attention output");
  EXPECT_EQ(layer_kind("tok_emb.weight"), "embedding");
  EXPECT_EQ(layer_kind("skip_weights"), "other");
}

}  // namespace
}  // namespace par5
