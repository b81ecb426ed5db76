// The figures that the published arithmetic gives for a really trained checkpoint (its SOURCE.md), on real text. They
// need the shared data: $PAR5_SHARED, or `shared` beside the sources.
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "core/file.h"
#include "eval/model_file.h"
#include "eval/paired.h"
#include "eval/plan.h"
#include "eval/score.h"
#include "eval/torch/torch_learner.h"
#include "eval/torch/torch_scorer.h"

namespace par5 {
namespace {

std::string shared_path(const std::string& name) {
  const char* folder = std::getenv("PAR5_SHARED");
  return join_path(folder ? folder : PAR5_SOURCE_DIR "/../shared", name);
}

const std::string kCheckpoint = shared_path("data/checkpoints/quinary-small-trained.safetensors");
const std::string kText = shared_path("data/corpora/enwiki-long/val.jsonl.xz");
const std::string kTokenizer = shared_path("data/tokenizers/enwiki_4096.model");
const std::string kConfig = PAR5_SOURCE_DIR "/configs/quinary-small.toml";

struct Output {
  int status = -1;
  std::string text;
};

Output run_par5(const std::string& arguments) {
  Output output;
  std::FILE* pipe = ::popen(("'" PAR5_PROGRAM "' " + arguments).c_str(), "r");
  if (!pipe) return output;
  char buffer[4096];
  for (std::size_t count = 0; (count = std::fread(buffer, 1, sizeof buffer, pipe)) > 0;)
    output.text.append(buffer, count);
  output.status = WEXITSTATUS(::pclose(pipe));
  return output;
}

class Published : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    if (!file_exists(kCheckpoint) || !file_exists(kText) || !file_exists(PAR5_PROGRAM)) return;
    auto folder = TemporaryFolder::create();
    ASSERT_TRUE(folder);
    folder_ = std::make_unique<TemporaryFolder>(std::move(*folder));
    const Output shards =
        run_par5("shard '" + kText + "' --tokenizer '" + kTokenizer + "' -o '" + folder_->path() + "' --json -q");
    ASSERT_EQ(shards.status, 0) << shards.text;
  }
  static void TearDownTestSuite() { folder_.reset(); }
  void SetUp() override {
    if (!folder_) GTEST_SKIP() << "needs " << kCheckpoint << ", " << kText << " and the program par5";
  }

  static EvalData data(std::int64_t max_targets) {
    auto data = load_eval_data(folder_->path(), max_targets);
    EXPECT_TRUE(data) << data.error().message;
    return std::move(*data);
  }
  static StoredModel checkpoint(const std::string& rope_angles) {
    auto model = load_eval_model(kCheckpoint, kConfig, {"model.rope_angles=" + rope_angles}, 0);
    EXPECT_TRUE(model) << model.error().message;
    EXPECT_FALSE(model->is_artifact);
    return std::move(model->stored);
  }
  static ScoreRow score(const StoredModel& stored, const EvalData& data, const Mode& mode, bool compat = false,
                        std::int64_t stride = 64) {
    auto scorer = TorchScorer::create(stored, {});
    EXPECT_TRUE(scorer);
    EvalSettings settings;
    settings.window = 512;
    settings.stride = stride;
    settings.compat = compat;
    std::unique_ptr<Learner> learner;
    if (mode_learns(mode)) {
      auto made = TorchLearner::create((*scorer)->network(), torch_learner_options(mode.kind, settings, 1e-4));
      EXPECT_TRUE(made);
      learner = std::move(*made);
    }
    auto row = run_mode(data, mode, settings, **scorer, learner.get());
    EXPECT_TRUE(row) << row.error().message;
    return std::move(*row);
  }
  // The checkpoint packed into a file with fp16 scales and read back.
  static StoredModel packed(const StoredModel& stored) {
    Artifact artifact;
    artifact.model = stored;
    const auto encoded = encode_artifact(artifact, {1, 0});
    EXPECT_TRUE(encoded);
    const std::string path = join_path(folder_->path(), "model.par5");
    EXPECT_TRUE(write_file(path, encoded->bytes, Overwrite::yes));
    auto model = load_eval_model(path, "", {}, 0);
    EXPECT_TRUE(model);
    EXPECT_TRUE(model->is_artifact);
    EXPECT_TRUE(remove_file(path));
    return std::move(model->stored);
  }

  static std::unique_ptr<TemporaryFolder> folder_;
};
std::unique_ptr<TemporaryFolder> Published::folder_;

TEST_F(Published, TargetsAndBytesAreExact) {
  const EvalData all = data(0);
  EXPECT_EQ(all.targets(), 718847);
  EXPECT_EQ(charged_bytes(all, all.targets()), 2339693);
  EXPECT_EQ(document_count(all, all.targets()), 269);
  EXPECT_EQ(all.source_bytes, 2340856);
  const std::int64_t compat = compat_targets(all.targets(), 512);
  EXPECT_EQ(compat, 718336);
  EXPECT_EQ(charged_bytes(all, compat), 2338036);
}

TEST_F(Published, FirstTargetsFromCheckpointAndArtifact) {
  const EvalData first = data(32768);
  const StoredModel stored = checkpoint("float32");
  const ScoreRow before = score(stored, first, {ModeKind::chunked});
  EXPECT_EQ(before.targets, 32768);
  EXPECT_EQ(before.bytes, 108821);
  EXPECT_NEAR(before.nats_per_token(), 3.8843227, 1e-4);
  EXPECT_NEAR(before.bpb(), 1.6874351, 1e-4);
  const ScoreRow after = score(packed(stored), first, {ModeKind::chunked});
  EXPECT_EQ(after.target_units, before.target_units);  // every target, bit for bit
  EXPECT_EQ(after.bpb(), before.bpb());
}

TEST_F(Published, FirstTargetsWithPublishedAngles) {
  const EvalData first = data(32768);
  const StoredModel stored = checkpoint("bfloat16");
  const ScoreRow before = score(stored, first, {ModeKind::chunked});
  EXPECT_NEAR(before.bpb(), 1.69666, 1e-3);
  EXPECT_EQ(score(packed(stored), first, {ModeKind::chunked}).target_units, before.target_units);
}

TEST_F(Published, CommandGivesTheSame) {
  const std::string common = "eval '" + kCheckpoint + "' --config '" + kConfig + "' --json -q --max-targets 2048";
  const Output from_text = run_par5(common + " --data '" + kText + "' --tokenizer '" + kTokenizer + "'");
  const Output from_shards = run_par5(common + " --data '" + folder_->path() + "'");
  ASSERT_EQ(from_text.status, 0) << from_text.text;
  ASSERT_EQ(from_shards.status, 0) << from_shards.text;
  const auto text = nlohmann::json::parse(from_text.text), shards = nlohmann::json::parse(from_shards.text);
  const ScoreRow row = score(checkpoint("float32"), data(2048), {ModeKind::chunked});
  for (const auto& report : {text, shards}) {
    EXPECT_EQ(report["command"], "eval");
    EXPECT_EQ(report["mode"], "chunked");
    EXPECT_EQ(report["targets"], 2048);
    EXPECT_EQ(report["bytes"], row.bytes);
    EXPECT_EQ(report["dropped_targets"], 0);
    EXPECT_TRUE(report["ledger_sha256"].is_null());
    EXPECT_NEAR(report["bpb"].get<double>(), row.bpb(), 1e-6);
  }
}

TEST_F(Published, LongWholeVal) {
  const EvalData all = data(0);
  const StoredModel stored = checkpoint("float32");
  const ScoreRow before = score(stored, all, {ModeKind::chunked});
  EXPECT_EQ(before.targets, 718847);
  EXPECT_EQ(before.bytes, 2339693);
  EXPECT_NEAR(before.bpb(), 1.72644, 1e-3);
  std::printf("whole val, chunked: %.8f bpb, %.1f s\n", before.bpb(), before.seconds);
  EXPECT_EQ(score(packed(stored), all, {ModeKind::chunked}).target_units, before.target_units);
  const ScoreRow compat = score(stored, all, {ModeKind::chunked}, true);
  EXPECT_EQ(compat.targets, 718336);
  EXPECT_EQ(compat.bytes, 2338036);
  EXPECT_EQ(compat.dropped_targets, 511);
  EXPECT_NEAR(compat.bpb(), before.bpb(), 1e-3);
}

TEST_F(Published, LongLadderOnTheFirstTwoHundredThousand) {
  const EvalData first = data(200000);
  const StoredModel stored = checkpoint("bfloat16");
  std::vector<ScoreRow> rows;
  for (const Mode& mode : {Mode{ModeKind::chunked}, Mode{ModeKind::sliding}, Mode{ModeKind::ttt_scalars, true},
                           Mode{ModeKind::ttt_scalars}}) {
    rows.push_back(score(stored, first, mode));
    std::printf("%-18s %.8f bpb, %.1f s\n", mode_name(mode).c_str(), rows.back().bpb(), rows.back().seconds);
  }
  EXPECT_NEAR(rows[0].bpb(), 1.71618, 2e-3);
  EXPECT_NEAR(rows[1].bpb(), 1.68596, 2e-3);
  EXPECT_NEAR(rows[2].bpb(), rows[1].bpb(), 1e-6);
  EXPECT_NEAR(rows[3].bpb(), 1.68585, 2e-3);
  EXPECT_LT(rows[3].bpb(), rows[2].bpb());
}

TEST_F(Published, LongLearningHelpsOnTheWholeVal) {
  const EvalData all = data(0);
  StoredModel stored = checkpoint("float32");
  for (StoredTensor& tensor : stored.tensors)
    if (auto* quantized = std::get_if<QuantizedTensor>(&tensor.data)) apply_scale_bits(*quantized, 5);
  const ScoreRow still = score(stored, all, {ModeKind::ttt_model, true}, false, 512);
  const ScoreRow learning = score(stored, all, {ModeKind::ttt_model}, false, 512);
  const auto paired = paired_difference(learning.target_units, still.target_units, all);
  ASSERT_TRUE(paired);
  std::printf("whole val, ttt:model in disjoint windows: %.8f, without learning %.8f, %.6f [%.6f, %.6f]\n",
              learning.bpb(), still.bpb(), paired->bpb, paired->low, paired->high);
  EXPECT_LT(paired->bpb, -0.010);
  EXPECT_LT(paired->high, 0);
}

}  // namespace
}  // namespace par5
