// Losses in their order, artifacts that fit, and caps that nothing fits.
#include "archive/fit.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "models.h"

namespace par5 {
namespace {

const auto kNothing = [](Artifact&) -> Status { return {}; };

std::uint64_t packed_bytes(const Artifact& artifact) { return encode_artifact(artifact, {}).value().bytes.size(); }

TEST(Fit, LossesSaveMoreAndMore) {
  const Artifact artifact = test::random_artifact(test::small_model(), test::small_quantizer());
  std::uint64_t before = UINT64_MAX;
  for (const Loss loss : {Loss::none, Loss::scales_8, Loss::scales_5, Loss::vectors_7, Loss::scales_4, Loss::vectors_4,
                          Loss::embedding_2, Loss::embedding_1}) {
    const std::uint64_t bytes = packed_bytes(with_loss(artifact, 16, loss));
    EXPECT_LT(bytes, before) << loss_name(loss);
    before = bytes;
  }
}

TEST(Fit, TakesTheFirstLossThatIsEnough) {
  const Artifact artifact = test::random_artifact(test::small_model(), test::small_quantizer());
  const std::uint64_t five = packed_bytes(with_loss(artifact, 16, Loss::scales_5)),
                      six = packed_bytes(with_loss(artifact, 16, Loss::scales_6));
  ASSERT_LT(five, six);
  const auto fitted = fit_artifact(artifact, 16, six - 1, {}, kNothing);
  ASSERT_TRUE(fitted) << to_string(fitted.error());
  EXPECT_EQ(fitted->encoded.bytes.size(), five);
  EXPECT_EQ(fitted->trials.back().loss, Loss::scales_5);
  EXPECT_EQ(fitted->trials.size(), 4u);
  EXPECT_EQ(fitted->artifact.model.quantizer.scale_bits, 5);
  EXPECT_GT(fitted->trials.back().quantised.rms_percent, 0);
  EXPECT_EQ(fitted->trials.back().fp8.rms_percent, 0);
  const auto decoded = decode_artifact(fitted->encoded.bytes, "fitted.par5");
  ASSERT_TRUE(decoded);
  EXPECT_TRUE(same_artifact(decoded->artifact, fitted->artifact));
}

TEST(Fit, WhatFitsAlreadyIsLeftAlone) {
  const Artifact artifact = test::random_artifact(test::small_model(), test::small_quantizer());
  const auto fitted = fit_artifact(artifact, 16, 1000000, {}, kNothing);
  ASSERT_TRUE(fitted);
  EXPECT_EQ(fitted->trials.size(), 1u);
  EXPECT_TRUE(same_artifact(fitted->artifact, artifact));
  EXPECT_EQ(fitted->trials[0].quantised.rms_percent, 0);
}

TEST(Fit, NothingFitsTheImpossible) {
  const Artifact artifact = test::random_artifact(test::small_model(), test::small_quantizer());
  const auto fitted = fit_artifact(artifact, 5, 3000, {}, kNothing);
  ASSERT_FALSE(fitted);
  EXPECT_EQ(fitted.error().code, ErrorCode::check_failed);
  EXPECT_THAT(fitted.error().message, ::testing::HasSubstr("does not fit 3,000 bytes"));
}

// Every fp8 code and every half, rounded: finite, on the coarser grid, and no nearer value was there.
TEST(Fit, RoundingGoesToTheNearest) {
  ModelConfig model = test::small_model();
  Artifact artifact = test::random_artifact(model, test::small_quantizer());
  for (StoredTensor& tensor : artifact.model.tensors) {
    if (auto* fp8 = std::get_if<Fp8Tensor>(&tensor.data))
      for (std::size_t i = 0; i < fp8->codes.size(); ++i)
        fp8->codes[i] = static_cast<std::uint8_t>(i % 0x7f | (i / 0x7f % 2 ? 0x80 : 0));
    if (auto* fp16 = std::get_if<Fp16Tensor>(&tensor.data))
      for (std::size_t i = 0; i < fp16->codes.size(); ++i)
        fp16->codes[i] = static_cast<std::uint16_t>(i * 97 % 0x7c00 | (i % 2 ? 0x8000 : 0));
  }
  for (const auto& [loss, fp8_bits, fp16_bits] :
       {std::tuple{Loss::embedding_2, 2, 4}, std::tuple{Loss::embedding_1, 1, 4}}) {
    const Artifact lossy = with_loss(artifact, 16, loss);
    for (std::size_t t = 0; t < artifact.model.tensors.size(); ++t) {
      const StoredTensor &before = artifact.model.tensors[t], &after = lossy.model.tensors[t];
      if (std::holds_alternative<QuantizedTensor>(before.data)) continue;
      const bool eight = std::holds_alternative<Fp8Tensor>(before.data);
      const std::vector<float> old_values = before.values(), new_values = after.values();
      for (std::size_t i = 0; i < old_values.size(); ++i) {
        const double change = std::abs(static_cast<double>(new_values[i]) - static_cast<double>(old_values[i]));
        ASSERT_TRUE(std::isfinite(new_values[i]));
        // Half a unit of the coarser mantissa; the largest values have no neighbour above.
        const double smallest = eight ? 0x1p-6 : 0x1p-14,
                     binade = std::exp2(
                         std::floor(std::log2(std::max(smallest, std::abs(static_cast<double>(old_values[i]))))));
        const bool topmost = std::abs(old_values[i]) >= (eight ? 400.0f : 60000.0f);
        EXPECT_LE(change, binade * std::exp2(-(eight ? fp8_bits : fp16_bits) - (topmost ? 0 : 1)))
            << before.spec.name << " " << i;
      }
    }
  }
}

}  // namespace
}  // namespace par5
