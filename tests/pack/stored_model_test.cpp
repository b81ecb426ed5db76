#include "pack/stored_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

#include "core/half.h"
#include "pack/statistics.h"

namespace par5 {
namespace {

using testing::HasSubstr;

std::vector<float> random_values(std::size_t count, float spread) {
  std::mt19937 random(21);
  std::vector<float> values(count);
  for (float& value : values) value = (static_cast<float>(random() >> 8) * 0x1p-23f - 1.0f) * spread;
  return values;
}

TEST(StoredModel, ValuesAreWhatTheStoredPrecisionKeeps) {
  const auto values = random_values(6 * 48, 2.0f);
  QuantizerConfig quantizer;
  quantizer.group = 24;
  const auto quantized = store_tensor({"w", {6, 48}, Storage::quantized, false}, values, quantizer);
  const auto fp8 = store_tensor({"e", {6, 48}, Storage::fp8, false}, values, quantizer);
  const auto fp16 = store_tensor({"v", {6 * 48}, Storage::fp16, true}, values, quantizer);
  ASSERT_TRUE(quantized && fp8 && fp16);
  for (std::size_t i = 0; i < values.size(); ++i) {
    EXPECT_EQ(fp8->values()[i], round_to_e4m3(values[i]));
    EXPECT_EQ(fp16->values()[i], round_to_half(values[i]));
  }
  // What is stored once is stored again unchanged.
  const auto again = store_tensor(fp8->spec, fp8->values(), quantizer);
  EXPECT_EQ(std::get<Fp8Tensor>(again->data).codes, std::get<Fp8Tensor>(fp8->data).codes);
}

TEST(StoredModel, RoundingToStorageGivesTheStoredValues) {
  QuantizerConfig quantizer;
  quantizer.group = 50;
  for (const std::size_t rows : {2, 200}) {
    const auto values = random_values(rows * 50, 2.0f);
    const Shape shape = {static_cast<std::int64_t>(rows), 50};
    for (const Storage storage : {Storage::quantized, Storage::fp8, Storage::fp16}) {
      const TensorSpec spec{"w", shape, storage, false};
      std::vector<float> rounded(values.size());
      ASSERT_TRUE(round_to_storage(spec, values, quantizer, rounded));
      EXPECT_EQ(rounded, store_tensor(spec, values, quantizer)->values());
      for (const float bad : {std::numeric_limits<float>::infinity(), std::nanf(""),
                              storage == Storage::fp16 ? 7e4f : -std::numeric_limits<float>::infinity()}) {
        auto wrong = values;
        wrong[values.size() - 3] = bad;
        const Status status = round_to_storage(spec, wrong, quantizer, rounded);
        ASSERT_FALSE(status);
        EXPECT_EQ(status.error().message, store_tensor(spec, wrong, quantizer).error().message);
      }
    }
  }
}

TEST(StoredModel, Fp8ExponentScalesTheValues) {
  StoredTensor tensor{{"e", {2}, Storage::fp8, false},
                      Fp8Tensor{{e4m3_from_float(1.5f), e4m3_from_float(-448.0f)}, -3}};
  EXPECT_EQ(tensor.values(), (std::vector<float>{0.1875f, -56.0f}));
}

TEST(StoredModel, NotFiniteValuesAreNamedAndFp8Saturates) {
  std::vector<float> values = {1.0f, 2.0f, 1e9f, 4.0f};
  const QuantizerConfig quantizer;
  const auto fp8 = store_tensor({"e", {4}, Storage::fp8, false}, values, quantizer);
  ASSERT_TRUE(fp8);
  EXPECT_EQ(fp8->values()[2], 448.0f);
  const auto fp16 = store_tensor({"v", {4}, Storage::fp16, false}, values, quantizer);
  ASSERT_FALSE(fp16);
  EXPECT_EQ(fp16.error().code, ErrorCode::bad_data);
  EXPECT_EQ(fp16.error().message, "value 2 of tensor 'v' is too large for fp16");
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    values[1] = bad;
    for (const Storage storage : {Storage::fp8, Storage::fp16}) {
      const auto stored = store_tensor({"v", {4}, storage, false}, values, quantizer);
      ASSERT_FALSE(stored);
      EXPECT_EQ(stored.error().message, "value 1 of tensor 'v' is not finite");
      EXPECT_EQ(stored.error().key, "v");
    }
  }
}

TEST(StoredModel, CheckpointsAreStoredTensorByTensor) {
  ModelConfig model;
  model.layers = 3;
  model.width = 32;
  model.heads = 2;
  model.kv_heads = 1;
  model.mlp_width = 64;
  model.vocab = 40;
  model.embedding_width = 12;
  QuantizerConfig quantizer;
  quantizer.group = 16;
  MatchedTensors matched;
  std::vector<Tensor> tensors;
  for (const TensorSpec& spec : tensor_specs(model))
    tensors.push_back(Tensor::from_floats(spec.name, spec.shape,
                                          random_values(static_cast<std::size_t>(element_count(spec.shape)), 0.1f)));
  matched.specs = tensor_specs(model);
  for (const Tensor& tensor : tensors) matched.tensors.push_back(tensor.view());
  matched.corrections.resize(matched.specs.size());

  const auto exact = store_checkpoint(matched, model, quantizer, 3);
  ASSERT_TRUE(exact);
  ASSERT_EQ(exact->tensors.size(), matched.specs.size());
  ASSERT_TRUE(exact->find("blocks.2.mlp.proj.weight"));
  EXPECT_EQ(exact->find("blocks.3.mlp.proj.weight"), nullptr);
  quantizer.scale_bits = 5;
  const auto coarse = store_checkpoint(matched, model, quantizer, 1);
  ASSERT_TRUE(coarse);
  for (std::size_t i = 0; i < matched.specs.size(); ++i) {
    const auto* a = std::get_if<QuantizedTensor>(&exact->tensors[i].data);
    const auto* b = std::get_if<QuantizedTensor>(&coarse->tensors[i].data);
    ASSERT_EQ(a == nullptr, b == nullptr);
    if (!a) {
      EXPECT_EQ(exact->tensors[i].values(), coarse->tensors[i].values());
      continue;
    }
    EXPECT_FALSE(a->deltas);
    ASSERT_TRUE(b->deltas);
    EXPECT_EQ(a->codes, b->codes);
    EXPECT_EQ(b->scales, reconstruct_scales(*b->deltas));
    EXPECT_EQ(b->scales.size(), static_cast<std::size_t>(scale_count(matched.specs[i].shape, quantizer)));
    for (std::size_t s = 0; s < a->scales.size(); ++s)
      EXPECT_NEAR(float_from_half(b->scales[s]) / float_from_half(a->scales[s]), 1.0f, 0.02f);
  }
}

TEST(Statistics, LevelsEntropyAndZeroShare) {
  const std::vector<std::int8_t> codes = {-2, 0, 0, 1, 1, 1, 1, 2};
  const LevelStatistics quinary = level_statistics(Grid::quinary, codes);
  EXPECT_EQ(quinary.histogram, (std::vector<std::uint64_t>{1, 0, 2, 4, 1}));
  EXPECT_EQ(quinary.count, 8u);
  EXPECT_DOUBLE_EQ(quinary.zero_share, 0.25);
  EXPECT_DOUBLE_EQ(quinary.order0_bytes, (3.0 + 2 * 2.0 + 4 * 1.0 + 3.0) / 8);
  EXPECT_DOUBLE_EQ(quinary.bits_per_weight, 14.0 / 8);
  const LevelStatistics binary = level_statistics(Grid::binary, std::vector<std::int8_t>{1, -1, 1, 1});
  EXPECT_EQ(binary.histogram, (std::vector<std::uint64_t>{1, 3}));
  EXPECT_DOUBLE_EQ(binary.zero_share, 0.0);
  const LevelStatistics empty = level_statistics(Grid::int8, {});
  EXPECT_EQ(empty.histogram.size(), 255u);
  EXPECT_DOUBLE_EQ(empty.order0_bytes + empty.bits_per_weight + empty.zero_share, 0.0);
  EXPECT_DOUBLE_EQ(order0_bytes(std::vector<std::uint8_t>{0, 0, 255, 255}), 0.5);
}

}  // namespace
}  // namespace par5
