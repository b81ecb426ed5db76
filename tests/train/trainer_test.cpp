#include <cmath>

#include "core/safetensors.h"
#include "model/latent.h"
#include "pack/architecture.h"
#include "tests/train/trainer_fixture.h"
#include "train/validation.h"

namespace par5 {
namespace {

TEST_F(TrainerTest, LearnsAndLeavesAWholeRunFolder) {
  ASSERT_TRUE(write_file(join_path(data_, "tokenizer.model"), "pieces", Overwrite::no));
  TrainRequest run = request("run", {"train.steps=150", "train.warmdown_fraction=0.2"});
  run.validation = validation_;
  const auto report = train(run);
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_EQ(report->steps, 150);
  EXPECT_EQ(report->tokens, 150 * 128);
  EXPECT_GT(report->tokens_per_second, 0);
  EXPECT_LT(report->final_loss, 3.0) << "a uniform guess has " << std::log(64.0);
  ASSERT_TRUE(report->val_bpb);
  EXPECT_LT(*report->val_bpb, 4.5);
  EXPECT_GT(report->predicted_bytes, 1000u);
  EXPECT_EQ(report->precision, Precision::float32);
  EXPECT_GT(report->flops_per_second, 0);
  EXPECT_GT(report->product_rates.float32, report->flops_per_second);
  EXPECT_GT(report->product_rates.bfloat16, 0);
  EXPECT_GE(report->page_faults_per_step, 0);

  EXPECT_EQ(list_folder(run.run_folder).value(),
            (std::vector<std::string>{"config.toml", "events.out.tfevents.par5", "metrics.jsonl", "model.safetensors",
                                      "run.json", "state.bin", "tokenizer.model"}));
  EXPECT_NE(bytes(run, "config.toml").find("width = 32"), std::string::npos);
  const Json facts = Json::parse(bytes(run, "run.json"));
  EXPECT_EQ(facts["seed"], 5);
  EXPECT_EQ(facts["data"]["sha256"], ShardReader::open(data_).value().content_sha256());
  EXPECT_EQ(facts["tokenizer_sha256"], std::string(64, 'a'));
  EXPECT_EQ(facts["program_sha256"].get<std::string>().size(), 64u);
  EXPECT_GE(facts["threads"], 1);
  std::int64_t last_step = 0, factors = 0;
  for (const Json& line : metrics(run)) {
    if (!line.contains("loss")) continue;
    EXPECT_GT(line["step"], last_step);
    last_step = line["step"];
    factors += static_cast<std::int64_t>(line["lr_factors"].size());
    for (const char* key : {"tokens", "lr", "momentum", "tokens_per_second", "seconds", "zero_share", "predicted_bytes",
                            "level_shares", "churn", "page_faults_per_step"})
      EXPECT_TRUE(line.contains(key)) << key;
    double shares = 0;
    for (const Json& share : line["level_shares"]) shares += share.get<double>();
    EXPECT_NEAR(shares, 1, 1e-12);
    EXPECT_EQ(line["level_shares"].size(), 5u);
    EXPECT_EQ(line["churn"].is_null(), line["step"] == 4) << "nothing to compare the first levels with";
  }
  EXPECT_EQ(last_step, 150);
  EXPECT_EQ(factors, 150) << "the realised schedule has every step";

  // The checkpoint says its own architecture.
  const std::string path = join_path(run.run_folder, "model.safetensors");
  const auto file = SafetensorsFile::open(path).value();
  const auto config = checkpoint_config(file, path, "").value();
  EXPECT_EQ(config.values().model, run.config.values().model);
  ASSERT_TRUE(match_tensors(file, config.values().model, path));
}

TEST_F(TrainerTest, EveryTensorMoves) {
  TrainRequest run = request("run", {"train.steps=3"});
  ASSERT_TRUE(train(run));
  const auto file = SafetensorsFile::open(join_path(run.run_folder, "model.safetensors")).value();
  const ModelConfig& model = run.config.values().model;
  const TrainConfig& settings = run.config.values().train;
  const LatentWeights initial(
      model, run.config.values().quantizer,
      {settings.init_std, settings.embedding_init_std, static_cast<std::uint64_t>(settings.seed)}, torch::kCPU);
  for (const LatentWeight& weight : initial.weights()) {
    const auto values = to_floats(*file.find(weight.spec.name)).value();
    const std::vector<float> before(weight.value.const_data_ptr<float>(),
                                    weight.value.const_data_ptr<float>() + weight.value.numel());
    EXPECT_NE(values, before) << weight.spec.name;
  }
}

TEST_F(TrainerTest, TheSameSeedGivesTheSameBytes) {
  for (const char* precision : {"train.precision=float32", "train.precision=bfloat16"}) {
    const std::string suffix = file_name(precision);
    TrainRequest a = request("a" + suffix, {precision}), b = request("b" + suffix, {precision}),
                 other = request("c" + suffix, {precision, "train.seed=6"});
    ASSERT_TRUE(train(a));
    ASSERT_TRUE(train(b));
    ASSERT_TRUE(train(other));
    EXPECT_TRUE(bytes(a, "model.safetensors") == bytes(b, "model.safetensors")) << precision;
    EXPECT_NE(bytes(a, "model.safetensors"), bytes(other, "model.safetensors"));
  }
}

TEST_F(TrainerTest, DiscardedWarmupLeavesNoTrace) {
  TrainRequest plain = request("plain"), warmed = request("warmed", {"train.discarded_warmup_steps=3"});
  ASSERT_TRUE(train(plain));
  ASSERT_TRUE(train(warmed));
  EXPECT_TRUE(bytes(plain, "model.safetensors") == bytes(warmed, "model.safetensors"));
}

TEST_F(TrainerTest, AccumulatedMicroBatchesAreTheWholeBatch) {
  TrainRequest whole = request("whole", {"train.micro_batch_tokens=128", "train.steps=2"});
  TrainRequest parts = request("parts", {"train.micro_batch_tokens=32", "train.steps=2"});
  ASSERT_TRUE(train(whole));
  ASSERT_TRUE(train(parts));
  const auto a = SafetensorsFile::open(join_path(whole.run_folder, "model.safetensors")).value();
  const auto b = SafetensorsFile::open(join_path(parts.run_folder, "model.safetensors")).value();
  for (const TensorView& tensor : a.tensors()) {
    if (tensor.name.find("vocab_bias") != std::string::npos)
      continue;  // Adam's first steps are signs of tiny gradients
    const auto x = to_floats(tensor).value(), y = to_floats(*b.find(tensor.name)).value();
    double difference = 0, norm = 0;
    for (std::size_t i = 0; i < x.size(); ++i) difference += std::pow(x[i] - y[i], 2), norm += std::pow(x[i], 2);
    EXPECT_LT(std::sqrt(difference), 2e-2 * std::sqrt(norm) + 1e-6) << tensor.name;
  }
}

TEST_F(TrainerTest, StopsByTheClockBeforeItIsOver) {
  TrainRequest run = request("run", {"train.steps=0", "train.max_seconds=2"});
  const auto report = train(run);
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_GT(report->steps, 1);
  // A step is not begun if by the mean of the others it would end too late. The bound only says that it stops: how
  // late a busy machine is, is not this test's matter.
  EXPECT_LT(report->train_seconds, 60);
  EXPECT_GT(metrics(run).back()["progresses"].back(), 0.4);
}

TEST_F(TrainerTest, DivergedRunKeepsTheLastCheckpoint) {
  TrainRequest run = request("run", {"train.steps=4"});
  ASSERT_TRUE(train(run));
  const std::string good = bytes(run, "model.safetensors");
  run.resume = true;
  run.config = toy_config({"train.steps=400", "optimizer.scalar_lr=10", "optimizer.muon_lr=10",
                           "optimizer.embedding_lr=10", "model.softcap=none"});
  ASSERT_FALSE(train(run)) << "another softcap is another model";
  run.config =
      toy_config({"train.steps=400", "optimizer.scalar_lr=10", "optimizer.muon_lr=10", "optimizer.embedding_lr=10"});
  const auto report = train(run);
  ASSERT_FALSE(report);
  EXPECT_EQ(report.error().code, ErrorCode::check_failed) << report.error().message;
  EXPECT_NE(report.error().message.find("checkpoint of step 4"), std::string::npos) << report.error().message;
  EXPECT_EQ(bytes(run, "model.safetensors"), good);
}

TEST_F(TrainerTest, KeepsTheLastCheckpoints) {
  TrainRequest run = request("run", {"train.keep_checkpoints=2", "train.checkpoint_seconds=0.000001"});
  ASSERT_TRUE(train(run));
  EXPECT_TRUE(file_exists(join_path(run.run_folder, "model-0000000011.safetensors")));
  EXPECT_EQ(bytes(run, "model-0000000012.safetensors"), bytes(run, "model.safetensors"));
  EXPECT_FALSE(file_exists(join_path(run.run_folder, "model-0000000010.safetensors")));
}

TEST_F(TrainerTest, RefusesWhatDoesNotFit) {
  const auto expect_error = [](const TrainRequest& run, ErrorCode code, const std::string& words) {
    const auto report = train(run);
    ASSERT_FALSE(report) << words;
    EXPECT_EQ(report.error().code, code) << report.error().message;
    EXPECT_NE(report.error().message.find(words), std::string::npos) << report.error().message;
    EXPECT_FALSE(file_exists(join_path(run.run_folder, "config.toml")));
  };
  expect_error(request("a", {"model.vocab=65"}), ErrorCode::usage, "vocabulary of 64, the model one of 65");
  expect_error(request("b", {"train.sequence=4096", "train.batch_tokens=4096", "train.micro_batch_tokens=4096"}),
               ErrorCode::bad_data, "2,000 tokens");
  TrainRequest missing = request("c");
  missing.data = folder_.at("nowhere");
  expect_error(missing, ErrorCode::io, "nowhere");
  TrainRequest resume = request("d");
  resume.resume = true;
  expect_error(resume, ErrorCode::usage, "no checkpoint");

  TrainRequest run = request("run", {"train.steps=1"});
  ASSERT_TRUE(train(run));
  const auto again = train(run);
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().code, ErrorCode::usage);
  run.overwrite = Overwrite::yes;
  EXPECT_TRUE(train(run));
}

TEST_F(TrainerTest, NamesTensorsThatNeverMove) {
  TrainRequest run = request("run", {"optimizer.embedding_lr=0"});
  const auto report = train(run);
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_EQ(report->unmoved, (std::vector<std::string>{"tok_emb.weight"}));
  bool told = false;
  for (const Json& line : metrics(run))
    told = told || (line.contains("unmoved") && line["unmoved"][0] == "tok_emb.weight");
  EXPECT_TRUE(told);
  const auto moving = train(request("moving"));
  ASSERT_TRUE(moving);
  EXPECT_TRUE(moving->unmoved.empty());
}

TEST_F(TrainerTest, KeepsTheBestValidation) {
  TrainRequest run = request("run", {"train.keep_best=true", "train.validate_every=4", "train.steps=40",
                                     "train.warmdown_fraction=0", "optimizer.muon_lr=0.2"});
  run.validation = validation_;
  ASSERT_TRUE(train(run));
  double best = 1e9;
  for (const Json& line : metrics(run))
    if (line.contains("val_bpb")) best = std::min(best, line["val_bpb"].get<double>());
  const std::string path = join_path(run.run_folder, "model-best.safetensors");
  const auto file = SafetensorsFile::open(path).value();
  const auto matched = match_tensors(file, run.config.values().model, path).value();
  auto latent =
      LatentWeights::from_checkpoint(matched, run.config.values().model, run.config.values().quantizer, torch::kCPU)
          .value();
  Network network(run.config.values().model, torch::kCPU, torch::kFloat32);
  ASSERT_TRUE(latent.refresh(network));
  const ShardReader shards = ShardReader::open(validation_).value();
  EXPECT_NEAR(score_chunked(network, shards, {16, 4096, 0, nullptr})->bits_per_byte(), best, 1e-6);
}

TEST_F(TrainerTest, LearnedScalesMoveAndAreStored) {
  for (const char* kind : {"row", "group"}) {
    TrainRequest run = request(kind, {std::string("train.learned_scale=") + kind, "train.steps=20"});
    run.validation = validation_;
    const auto report = train(run);
    ASSERT_TRUE(report) << report.error().message;
    const std::string path = join_path(run.run_folder, "model.safetensors");
    const auto file = SafetensorsFile::open(path).value();
    const auto matched = match_tensors(file, run.config.values().model, path).value();
    std::size_t corrected = 0;
    for (const auto& correction : matched.corrections) corrected += correction.has_value();
    EXPECT_EQ(corrected, 8u) << "four matrices in two blocks";
    // What was validated is what the stored model stands for.
    const StoredModel stored =
        store_checkpoint(matched, run.config.values().model, run.config.values().quantizer).value();
    Network network(run.config.values().model, torch::kCPU, torch::kFloat32);
    ASSERT_TRUE(network.load(stored));
    const ShardReader shards = ShardReader::open(validation_).value();
    EXPECT_DOUBLE_EQ(score_chunked(network, shards, {16, 16384, 0, nullptr})->bits_per_byte(), *report->val_bpb);
  }
}

TEST_F(TrainerTest, LearnsFromATeacher) {
  TrainRequest teacher = request("teacher", {"train.quantize=false", "train.steps=200"});
  ASSERT_TRUE(train(teacher));
  const std::string path = join_path(teacher.run_folder, "model.safetensors");
  TrainRequest student =
      request("student", {"train.teacher=" + path, "train.distillation_weight=1", "train.steps=100"});
  const auto report = train(student);
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_LT(report->final_loss, 3.2) << "from the teacher alone; a uniform guess has " << std::log(64.0);
  TrainRequest weightless = request("weightless", {"train.teacher=" + path, "train.distillation_weight=0"});
  TrainRequest alone = request("alone");
  ASSERT_TRUE(train(weightless));
  ASSERT_TRUE(train(alone));
  const auto a = SafetensorsFile::open(join_path(weightless.run_folder, "model.safetensors")).value();
  const auto b = SafetensorsFile::open(join_path(alone.run_folder, "model.safetensors")).value();
  const auto x = to_floats(*a.find("tok_emb.weight")).value(), y = to_floats(*b.find("tok_emb.weight")).value();
  double difference = 0, norm = 0;
  for (std::size_t i = 0; i < x.size(); ++i) difference += std::pow(x[i] - y[i], 2), norm += std::pow(y[i], 2);
  EXPECT_LT(difference, 1e-2 * norm) << "weight 0 is training without a teacher";
  TrainRequest unfit = request("unfit", {"train.teacher=" + path});
  unfit.config.values().model.vocab = 65;
  EXPECT_FALSE(train(unfit));
}

// Against window-by-window logits and a log-softmax in double.
TEST_F(TrainerTest, ChunkedScoreCountsEveryTargetOnce) {
  const LoadedConfig config = toy_config();
  const ModelConfig& model = config.values().model;
  Network network(model, torch::kCPU, torch::kFloat32);
  LatentWeights latent(model, config.values().quantizer, {0.3, 0.3, 1}, torch::kCPU);
  ASSERT_TRUE(latent.refresh(network));
  const ShardReader shards = ShardReader::open(validation_).value();
  const auto tokens = static_cast<std::int64_t>(shards.tokens());
  std::vector<std::uint16_t> stream(shards.tokens());
  shards.read(0, stream);
  const torch::NoGradGuard no_gradients;
  double nats = 0;
  std::uint64_t bytes = 0;
  for (std::int64_t begin = 0; begin + 1 < tokens; begin += 16) {
    const std::int64_t length = std::min<std::int64_t>(16, tokens - 1 - begin);
    torch::Tensor inputs = torch::empty({1, length}, torch::kInt64);
    for (std::int64_t i = 0; i < length; ++i)
      inputs[0][i] = static_cast<std::int64_t>(stream[static_cast<std::size_t>(begin + i)]);
    const torch::Tensor logits =
        network.logits(network.hidden(inputs).reshape({length, model.width})).to(torch::kFloat64);
    const torch::Tensor log_probabilities = logits - logits.logsumexp(1, true);
    for (std::int64_t i = 0; i < length; ++i) {
      const std::uint16_t target = stream[static_cast<std::size_t>(begin + i + 1)];
      nats -= log_probabilities[i][target].item<double>();
      bytes += target >= 4 ? 1 : 0;
    }
  }
  for (const std::int64_t batch_tokens : {16, 48, 4096}) {
    const ChunkedScore score = score_chunked(network, shards, {16, batch_tokens, 0, nullptr}).value();
    EXPECT_EQ(score.targets, shards.tokens() - 1);
    EXPECT_EQ(score.bytes, bytes);
    EXPECT_NEAR(score.nats / nats, 1.0, 1e-6);
  }
  EXPECT_EQ(score_chunked(network, shards, {16, 64, 100, nullptr})->targets, 100u);
}

}  // namespace
}  // namespace par5
