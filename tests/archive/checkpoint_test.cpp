// A really trained checkpoint, where the folder with shared data is there.
#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>

#include "core/file.h"
#include "core/safetensors.h"
#include "pack/architecture.h"
#include "reference.h"

namespace par5 {
namespace {

std::string shared_folder() {
  const char* named = std::getenv("PAR5_SHARED");
  return named ? named : PAR5_SOURCE_DIR "/../shared";
}

// `reference`: read with the slow decoder too.
void pack_trained_checkpoint(const std::vector<int>& scale_bits, bool reference) {
  const std::string path = shared_folder() + "/data/checkpoints/quinary-small-trained.safetensors";
  if (!file_exists(path)) GTEST_SKIP() << path << " is not there (PAR5_SHARED names another folder)";
  const auto file = SafetensorsFile::open(path);
  ASSERT_TRUE(file) << to_string(file.error());
  auto config = checkpoint_config(*file, path, PAR5_SOURCE_DIR "/configs/quinary-small.toml");
  ASSERT_TRUE(config) << to_string(config.error());
  const auto matched = match_tensors(*file, config->values().model, path);
  ASSERT_TRUE(matched) << to_string(matched.error());
  EXPECT_FALSE(matched->dropped.empty());
  for (const int bits : scale_bits) {
    QuantizerConfig quantizer = config->values().quantizer;
    quantizer.scale_bits = bits;
    Artifact artifact;
    artifact.model = store_checkpoint(*matched, config->values().model, quantizer).value();
    const auto start = std::chrono::steady_clock::now();
    const auto encoded = encode_artifact(artifact, {.effort = 2});
    ASSERT_TRUE(encoded) << to_string(encoded.error());
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    const auto decoded = decode_artifact(encoded->bytes, "model.par5");
    ASSERT_TRUE(decoded) << to_string(decoded.error());
    EXPECT_TRUE(same_artifact(artifact, decoded->artifact));
    if (reference) test::expect_reference_agrees(encoded->bytes, artifact);
    const ArtifactReport& report = encoded->report;
    std::printf("%2d-bit scales, effort 2: %ju bytes (quantised %ju, floats %ju, scales %ju, rest %ju), %.1f s\n", bits,
                static_cast<std::uintmax_t>(report.file_bytes), static_cast<std::uintmax_t>(report.quantised_bytes),
                static_cast<std::uintmax_t>(report.float_bytes), static_cast<std::uintmax_t>(report.scale_bytes),
                static_cast<std::uintmax_t>(report.metadata_bytes + report.checksum_bytes), seconds);
    EXPECT_LE(report.file_bytes, 765000u) << "the published program's archive of it takes 863,623 bytes";
  }
}

TEST(TrainedCheckpoint, PacksAndDecodesToTheSameModel) { pack_trained_checkpoint({5}, false); }
TEST(TrainedCheckpoint, WithEveryScaleWidthLong) { pack_trained_checkpoint({16, 8, 6, 5, 4}, true); }

}  // namespace
}  // namespace par5
