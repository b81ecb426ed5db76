// Every preset in configs/ loads, fits together and has exactly the published parameter counts.
#include <gtest/gtest.h>

#include "core/config.h"
#include "core/file.h"
#include "pack/architecture.h"

namespace par5 {
namespace {

struct Preset {
  const char* name;
  std::int64_t quantized, embedding, calibration, total;
};
const Preset kPresets[] = {
    {"quinary-16mb", 36'495'360, 6'663'680, 42'364, 43'201'404},
    {"ternary-16mb", 64'880'640, 2'470'912, 42'832, 67'394'384},
    {"bitnet-16mb", 67'239'936, 786'432, 41'616, 68'067'984},
    {"pentanet-124m", 123'532'032, 393'216, 0, 123'944'448},
    {"bitnet-124m", 123'532'032, 393'216, 0, 123'944'448},
    {"quinary-small", 1'622'016, 430'080, 7'568, 2'059'664},
};

std::string preset_path(const std::string& file) { return std::string(PAR5_SOURCE_DIR) + "/configs/" + file; }

TEST(Presets, HaveThePublishedParameterCounts) {
  for (const Preset& preset : kPresets) {
    SCOPED_TRACE(preset.name);
    LoadedConfig config;
    const Status loaded = config.apply_file(preset_path(std::string(preset.name) + ".toml"));
    ASSERT_TRUE(loaded) << to_string(loaded.error());
    const Status fits = config.check();
    ASSERT_TRUE(fits) << to_string(fits.error());
    const ParameterCounts counts = count_parameters(config.values().model);
    EXPECT_EQ(counts.quantized, preset.quantized);
    EXPECT_EQ(counts.embedding, preset.embedding);
    EXPECT_EQ(counts.calibration, preset.calibration);
    EXPECT_EQ(counts.total(), preset.total);
    EXPECT_EQ(config.values().data.vocab, config.values().model.vocab);
  }
}

TEST(Presets, EveryFileInConfigsLoadsAndFits) {
  std::size_t files = 0;
  for (const std::string& folder : {std::string(), std::string("studies/pentanet/")}) {
    const auto names = list_folder(preset_path(folder));
    ASSERT_TRUE(names);
    for (const std::string& name : *names) {
      if (!name.ends_with(".toml")) continue;
      SCOPED_TRACE(folder + name);
      LoadedConfig config;
      const Status loaded = config.apply_file(preset_path(folder + name));
      ASSERT_TRUE(loaded) << to_string(loaded.error());
      EXPECT_TRUE(config.check());
      ++files;
    }
  }
  EXPECT_GE(files, 11u);
}

// Numbers of the published runs that no parameter count shows.
TEST(Presets, CarryThePublishedSchedules) {
  LoadedConfig quinary, bitnet, pentanet;
  ASSERT_TRUE(quinary.apply_file(preset_path("quinary-16mb.toml")));
  EXPECT_EQ(quinary.values().optimizer.muon_lr, 0.035);
  EXPECT_EQ(quinary.values().train.batch_tokens, 524'288);
  EXPECT_EQ(quinary.values().train.max_seconds, 599.0);
  EXPECT_EQ(quinary.values().train.warmdown_fraction, 0.2);
  ASSERT_TRUE(bitnet.apply_file(preset_path("bitnet-16mb.toml")));
  EXPECT_EQ(bitnet.values().train.warmdown_steps, 1200);
  EXPECT_EQ(bitnet.values().train.warmup_steps, 50);
  EXPECT_EQ(bitnet.values().model.linear_norm, LinearNorm::all);
  ASSERT_TRUE(pentanet.apply_file(preset_path("pentanet-124m.toml")));
  EXPECT_EQ(pentanet.values().train.warmdown_shape, WarmdownShape::cosine);
  EXPECT_EQ(pentanet.values().quantizer.granularity, Granularity::tensor);
  EXPECT_EQ(pentanet.values().train.warmup_steps + static_cast<std::int64_t>(0.95 * 10000), 10000);
}

}  // namespace
}  // namespace par5
