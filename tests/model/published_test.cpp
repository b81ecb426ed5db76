// A checkpoint that the published recipe trained, on the text whose bits per byte its program gave (SOURCE.md beside
// the checkpoint). Skipped where the shared data is not at hand.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <sstream>
#include <string>

#include "core/file.h"
#include "model/latent.h"
#include "model/network.h"

namespace par5 {
namespace {

std::string shared_folder() {
  if (const char* given = std::getenv("PAR5_SHARED")) return given;
  return join_path(PAR5_SOURCE_DIR, "../shared");
}

constexpr std::int64_t kTargets = 32768, kWindow = 512;
constexpr double kBytes = 108821;

// The first kTargets + 1 tokens of enwiki-long's validation text, by `par5 shard`; empty where that cannot run.
std::vector<std::int64_t> validation_tokens(const std::string& shared) {
  auto folder = TemporaryFolder::create();
  if (!folder) return {};
  const std::string out = join_path(folder->path(), "val");
  std::ostringstream command;
  command << PAR5_PROGRAM << " shard '" << shared << "/data/corpora/enwiki-long/val.jsonl.xz' --tokenizer '" << shared
          << "/data/tokenizers/enwiki_4096.model' -o '" << out << "' >/dev/null 2>&1";
  if (std::system(command.str().c_str()) != 0) return {};
  std::vector<std::int64_t> tokens;
  const auto names = list_folder(out);
  if (!names) return {};
  for (const std::string& name : *names) {
    const std::string path = join_path(out, name);
    if (name.ends_with(".bin") && tokens.empty()) {
      const auto bytes = read_file(path);
      if (!bytes || bytes->size() < 1024 + 2 * (kTargets + 1)) return {};
      for (std::size_t i = 0; i < static_cast<std::size_t>(kTargets + 1); ++i) {
        std::uint16_t token = 0;
        std::memcpy(&token, bytes->data() + 1024 + 2 * i, 2);
        tokens.push_back(token);
      }
    }
    if (!remove_file(path)) return {};
  }
  return tokens;
}

double bits_per_byte(Network& network, const std::vector<std::int64_t>& tokens) {
  const torch::NoGradGuard no_gradients;
  const torch::Tensor all = torch::tensor(tokens);
  const torch::Tensor inputs = all.narrow(0, 0, kTargets).view({-1, kWindow});
  const torch::Tensor targets = all.narrow(0, 1, kTargets).view({-1, kWindow});
  double nats = 0;
  for (std::int64_t row = 0; row < inputs.size(0); row += 16) {
    const torch::Tensor hidden = network.hidden(inputs.narrow(0, row, 16)).flatten(0, 1);
    nats += network.nats(hidden, targets.narrow(0, row, 16).flatten()).sum(torch::kFloat64).item<double>();
  }
  return nats / std::log(2.0) / kBytes;
}

class Published : public testing::Test {
 protected:
  void SetUp() override {
    const std::string path = join_path(shared_folder(), "data/checkpoints/quinary-small-trained.safetensors");
    if (!file_exists(path)) GTEST_SKIP() << "no " << path;
    tokens_ = validation_tokens(shared_folder());
    if (tokens_.empty()) GTEST_SKIP() << "par5 shard gave no tokens";
    ASSERT_TRUE(config_.apply_file(join_path(PAR5_SOURCE_DIR, "configs/quinary-small.toml")));
    auto file = SafetensorsFile::open(path);
    ASSERT_TRUE(file);
    file_.emplace(std::move(*file));
    auto matched = match_tensors(*file_, config_.values().model, path);
    ASSERT_TRUE(matched) << to_string(matched.error());
    matched_ = std::move(*matched);
  }

  double score(RopeAngles angles, torch::ScalarType compute) {
    ModelConfig model = config_.values().model;
    model.rope_angles = angles;
    Network network(model, torch::kCPU, compute);
    const auto stored = store_checkpoint(matched_, model, config_.values().quantizer);
    EXPECT_TRUE(stored);
    EXPECT_TRUE(network.load(*stored));
    const double bpb = bits_per_byte(network, tokens_);
    std::printf("bits per byte: %.7f\n", bpb);
    return bpb;
  }

  LoadedConfig config_;
  std::optional<SafetensorsFile> file_;
  MatchedTensors matched_;
  std::vector<std::int64_t> tokens_;
};

TEST_F(Published, Float32AnglesGiveThePublishedBitsPerByte) {
  EXPECT_NEAR(score(RopeAngles::float32, torch::kFloat32), 1.6874351, 2e-6);
}
TEST_F(Published, Bfloat16AnglesGiveThePublishedBitsPerByte) {
  EXPECT_NEAR(score(RopeAngles::bfloat16, torch::kFloat32), 1.6966601, 1e-3);
}
TEST_F(Published, Bfloat16ProductsStayNear) {
  EXPECT_NEAR(score(RopeAngles::float32, torch::kBFloat16), 1.6874351, 3e-3);
}

}  // namespace
}  // namespace par5
