// Runs that go on where another stopped, or repeat it.
#include "core/safetensors.h"
#include "tests/train/trainer_fixture.h"

namespace par5 {
namespace {

using ResumeTest = TrainerTest;

TEST_F(ResumeTest, ResumeIsBitExact) {
  const std::vector<std::vector<std::string>> kinds = {
      {"train.warmup_steps=3", "train.precision=bfloat16"},
      {"train.head_sample=4", "train.head_sample_fraction=0.7", "train.sequence_start=4"},
      {"data.order=sequential", "optimizer.kind=adamw", "optimizer.weight_decay=0.1", "optimizer.clip=1"},
      {"model.backbone=gpt2", "model.kv_heads=2", "model.embedding_width=32", "model.activation=gelu",
       "model.norm=layer", "model.dropout=0.2", "model.embedding_storage=fp16"}};
  for (std::size_t kind = 0; kind < kinds.size(); ++kind) {
    const std::string name = std::to_string(kind);
    TrainRequest straight = request("straight" + name, kinds[kind]);
    const auto report = train(straight);
    ASSERT_TRUE(report) << report.error().message;
    // Interrupted between the two micro-batches of the seventh step, which is then done anew.
    TrainRequest halves = request("halves" + name, kinds[kind]);
    halves.stop = stop_after(13);
    const auto interrupted = train(halves);
    ASSERT_FALSE(interrupted);
    EXPECT_EQ(interrupted.error().code, ErrorCode::interrupted);
    EXPECT_EQ(metrics(halves).back()["step"], 6);
    EXPECT_NE(bytes(straight, "model.safetensors"), bytes(halves, "model.safetensors"));
    halves.stop = nullptr;
    halves.resume = true;
    const auto resumed = train(halves);
    ASSERT_TRUE(resumed) << resumed.error().message;
    EXPECT_EQ(resumed->steps, 12);
    EXPECT_TRUE(bytes(straight, "model.safetensors") == bytes(halves, "model.safetensors")) << "kind " << kind;
  }
}

// A run by the clock, repeated by step from what it recorded.
TEST_F(ResumeTest, ReplayRepeatsAWallClockRunBitForBit) {
  const std::vector<std::string> changes = {"train.steps=0",
                                            "train.max_seconds=1.5",
                                            "train.batch_start_tokens=64",
                                            "train.sequence_start=4",
                                            "train.head_sample=4",
                                            "train.head_sample_fraction=0.6",
                                            "train.soft_quantization_fraction=0.3",
                                            "quantizer.scale_bits=5",
                                            "train.scale_qat_fraction=0.4",
                                            "train.warmdown_steps=20"};
  TrainRequest clocked = request("clocked", changes);
  const auto first = train(clocked);
  ASSERT_TRUE(first) << first.error().message;
  TrainRequest again = request("again", changes);
  again.config.values().train.max_seconds = 0.001;  // the clock plays no part
  again.replay = clocked.run_folder;
  const auto replayed = train(again);
  ASSERT_TRUE(replayed) << replayed.error().message;
  EXPECT_EQ(replayed->steps, first->steps);
  EXPECT_EQ(replayed->tokens, first->tokens);
  EXPECT_TRUE(bytes(clocked, "model.safetensors") == bytes(again, "model.safetensors"));

  TrainRequest missing = request("missing");
  missing.replay = folder_.at("nowhere");
  ASSERT_FALSE(train(missing));
  ASSERT_TRUE(write_file(join_path(again.run_folder, "metrics.jsonl"),
                         "{\"step\":4,\"lr_factors\":[1,1],\"progresses\":[0,0.1]}\n", Overwrite::yes));
  missing.replay = again.run_folder;
  const auto gap = train(missing);
  ASSERT_FALSE(gap);
  EXPECT_EQ(gap.error().code, ErrorCode::bad_data);
}

TEST_F(ResumeTest, AveragedWeightsAreWhatCheckpointsHold) {
  TrainRequest plain = request("plain"), averaged = request("averaged", {"train.ema_decay=0.5"});
  ASSERT_TRUE(train(plain));
  ASSERT_TRUE(train(averaged));
  EXPECT_NE(bytes(plain, "model.safetensors"), bytes(averaged, "model.safetensors"));
  const auto state = SafetensorsFile::open(join_path(averaged.run_folder, "state.bin")).value();
  const auto file = SafetensorsFile::open(join_path(averaged.run_folder, "model.safetensors")).value();
  const auto untouched = SafetensorsFile::open(join_path(plain.run_folder, "model.safetensors")).value();
  const std::string name = "blocks.0.mlp.fc.weight";
  EXPECT_EQ(to_floats(*file.find(name)).value(), to_floats(*state.find("average." + name)).value());
  EXPECT_EQ(to_floats(*untouched.find(name)).value(), to_floats(*state.find("latent." + name)).value())
      << "averaging must not bend the run itself";
  // Interrupted and resumed.
  TrainRequest halves = request("halves", {"train.ema_decay=0.5"});
  halves.stop = stop_after(13);
  ASSERT_FALSE(train(halves));
  halves.stop = nullptr, halves.resume = true;
  ASSERT_TRUE(train(halves));
  EXPECT_TRUE(bytes(averaged, "model.safetensors") == bytes(halves, "model.safetensors"));
}

}  // namespace
}  // namespace par5
