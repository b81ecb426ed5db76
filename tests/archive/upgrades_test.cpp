// What more bytes would buy, against the same thing done.
#include "archive/upgrades.h"

#include <gtest/gtest.h>

#include <cmath>

#include "bench/model_states.h"
#include "models.h"

namespace par5 {
namespace {

TEST(GeneralizedGaussian, KnownShapes) {
  // Shares of zeros that absmean rounding gives: Laplace 1 - exp(-1/2), Gaussian erf(0.5 / sqrt(pi)).
  EXPECT_NEAR(1 - GeneralizedGaussian(1).share_above(0.5), 1 - std::exp(-0.5), 1e-5);
  EXPECT_NEAR(1 - GeneralizedGaussian(2).share_above(0.5), std::erf(0.5 / std::sqrt(M_PI)), 1e-6);
  EXPECT_NEAR(GeneralizedGaussian(2).share_above(1.5), std::erfc(1.5 / std::sqrt(M_PI)), 1e-6);
  EXPECT_NEAR(GeneralizedGaussian::with_zero_share(0.3101).shape(), 2, 0.01);
  EXPECT_NEAR(GeneralizedGaussian::with_zero_share(0.3935).shape(), 1, 0.01);
  EXPECT_GT(GeneralizedGaussian(2).rounding_error(1), GeneralizedGaussian(2).rounding_error(2));
}

const Upgrade* find(const std::vector<Upgrade>& list, const std::string& what) {
  for (const Upgrade& upgrade : list)
    if (upgrade.what == what) return &upgrade;
  return nullptr;
}

Artifact state(Grid grid, int scale_bits) {
  ModelConfig model = test::small_model();
  model.width = 192;
  model.mlp_width = 384;
  QuantizerConfig quantizer = test::small_quantizer(grid);
  Artifact artifact;
  artifact.model = bench::random_state(model, quantizer, bench::Structure::independent, 5).value();
  if (scale_bits < 16) apply_scale_bits(artifact.model, scale_bits);
  return artifact;
}

TEST(Upgrades, AgreeWithPackingIt) {
  const Artifact five = state(Grid::quinary, 5);
  const auto packed = encode_artifact(five, {}).value();
  const std::vector<Upgrade> list = upgrades(five, packed.report);
  const auto now = static_cast<double>(packed.bytes.size());
  for (const auto& [what, better] : {std::pair{std::string("scales at 8 bits"), state(Grid::quinary, 8)},
                                     std::pair{std::string("fp16 scales"), state(Grid::quinary, 16)},
                                     std::pair{std::string("a septenary grid"), state(Grid::septenary, 5)}}) {
    const Upgrade* upgrade = find(list, what);
    ASSERT_NE(upgrade, nullptr) << what;
    const double difference = static_cast<double>(encode_artifact(better, {}).value().bytes.size()) - now;
    EXPECT_NEAR(static_cast<double>(upgrade->bytes), difference, 0.1 * difference) << what;
    EXPECT_LT(upgrade->error_after_percent, upgrade->error_before_percent);
  }
  EXPECT_EQ(find(upgrades(state(Grid::int4, 5), packed.report), "a septenary grid"), nullptr);
}

}  // namespace
}  // namespace par5
