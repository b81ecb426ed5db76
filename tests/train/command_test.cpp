// `par5 train` as people run it: through the front, with exit statuses, JSON and signals.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>

#include "core/safetensors.h"
#include "tests/train/toy.h"

namespace par5 {
namespace {

struct Finished {
  int status = -1;
  std::string output, error;
};

class TrainCommandTest : public testing::Test {
 protected:
  void SetUp() override {
    for (const char* program : {PAR5_PROGRAM, PAR5_PROGRAM "-torch"})
      if (!file_exists(program)) GTEST_SKIP() << program << " is not built";
    write_toy_shards(data_, 2000);
    ASSERT_TRUE(make_folders(work_));
    ASSERT_TRUE(write_file(join_path(work_, "toy.toml"), toy_config().to_toml(false), Overwrite::no));
  }
  Finished par5(const std::string& arguments) {
    const std::string out = join_path(work_, "out"), error = join_path(work_, "err");
    const std::string command = "TERM=dumb '" PAR5_PROGRAM "' " + arguments + " >'" + out + "' 2>'" + error + "'";
    const int status = std::system(command.c_str());
    return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, read_text_file(out).value(), read_text_file(error).value()};
  }
  std::string common(const std::string& run) {
    return "train --threads 1 --config '" + join_path(work_, "toy.toml") + "' --data '" + data_ + "' -o '" + run + "' ";
  }
  TestFolder folder_;
  std::string data_ = folder_.at("data"), work_ = folder_.at("work"), run_ = folder_.at("run");
};

TEST_F(TrainCommandTest, ReportsWhatTheFormPromises) {
  const Finished done = par5(common(run_) + "--val '" + data_ + "' --steps 5 --seed 3 --json -q");
  ASSERT_EQ(done.status, 0) << done.error;
  const auto report = nlohmann::json::parse(done.output);
  EXPECT_EQ(report["command"], "train");
  EXPECT_EQ(report["steps"], 5);
  EXPECT_EQ(report["tokens"], 640);
  EXPECT_EQ(report["run_dir"], run_);
  for (const char* key : {"train_seconds", "tokens_per_second", "final_loss", "val_bpb"})
    EXPECT_TRUE(report[key].is_number()) << key;
  EXPECT_TRUE(report["predicted_bytes"].is_number_integer());
  EXPECT_EQ(report["precision"], "float32");
  for (const char* key : {"flops_per_second", "page_faults_per_step"}) EXPECT_TRUE(report[key].is_number()) << key;
  for (const char* type : {"float32", "bfloat16"})
    EXPECT_GT(report["product_flops_per_second"][type].get<double>(), 0) << type;
  EXPECT_GT(report["roofline_share"]["precision"].get<double>(), 0);
  EXPECT_EQ(done.error, "");

  const Finished again = par5(common(run_) + "--json");
  EXPECT_EQ(again.status, 2);
  EXPECT_EQ(nlohmann::json::parse(again.output)["error"]["code"], "usage");
  // More steps on top, from the run's own configuration.
  const Finished resumed =
      par5("train --threads 1 --data '" + data_ + "' -o '" + run_ + "' --resume --steps 7 --json -q");
  ASSERT_EQ(resumed.status, 0) << resumed.output;
  EXPECT_EQ(nlohmann::json::parse(resumed.output)["steps"], 7);
}

TEST_F(TrainCommandTest, HelpAndUsageErrors) {
  const Finished help = par5("train --help");
  EXPECT_EQ(help.status, 0);
  EXPECT_NE(help.output.find("--max-seconds"), std::string::npos);
  EXPECT_EQ(par5("train --data x").status, 2);
  const Finished unknown = par5(common(run_) + "--set model.widht=3");
  EXPECT_EQ(unknown.status, 2);
  EXPECT_NE(unknown.error.find("did you mean 'model.width'"), std::string::npos) << unknown.error;
  const Finished missing = par5(common(run_) + "--set model.vocab=100");
  EXPECT_EQ(missing.status, 2);
  EXPECT_NE(missing.error.find("--set model.vocab=64"), std::string::npos) << missing.error;
  EXPECT_FALSE(file_exists(run_));
}

TEST_F(TrainCommandTest, SignalsLeaveACheckpointThatResumes) {
  for (const int signal : {SIGINT, SIGTERM}) {
    const std::string run = folder_.at("run" + std::to_string(signal));
    const pid_t child = ::fork();
    if (child == 0) {
      (void)!std::freopen("/dev/null", "w", stderr);
      ::execl(PAR5_PROGRAM, "par5", "train", "--threads", "1", "--config", join_path(work_, "toy.toml").c_str(),
              "--data", data_.c_str(), "-o", run.c_str(), "--steps", "1000000", static_cast<char*>(nullptr));
      ::_exit(99);
    }
    for (int i = 0; i < 3000; ++i) {
      if (const auto size = file_size(join_path(run, "metrics.jsonl")); size && *size > 0) break;
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    ::kill(child, signal);
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFEXITED(status));
    EXPECT_EQ(WEXITSTATUS(status), 130);
    EXPECT_TRUE(file_exists(join_path(run, "model.safetensors")));
    const Finished resumed = par5("train --threads 1 --data '" + data_ + "' -o '" + run +
                                  "' --resume --max-seconds 1 --set train.steps=0 --json -q");
    ASSERT_EQ(resumed.status, 0) << resumed.output << resumed.error;
    EXPECT_GT(nlohmann::json::parse(resumed.output)["steps"], 3);
  }
}

// Killed outright at moments that no handler sees: what lies in the folder is whole, and continuing gives the same
// bytes as a run that nothing happened to.
TEST_F(TrainCommandTest, KilledRunsContinueFromAWholeCheckpoint) {
  const std::string straight = folder_.at("straight");
  ASSERT_EQ(par5(common(straight) + "--steps 400 -q").status, 0);
  const std::string killed = folder_.at("killed");
  const std::string command = common(killed) + "--steps 400 --set train.checkpoint_seconds=0.02 -q ";
  std::string resume;
  for (const int milliseconds : {700, 900, 1300}) {
    const pid_t child = ::fork();
    if (child == 0) {
      ::execl("/bin/sh", "sh", "-c", ("exec '" PAR5_PROGRAM "-torch' " + command + resume + "2>/dev/null").c_str(),
              static_cast<char*>(nullptr));
      ::_exit(99);
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds));
    ::kill(child, SIGKILL);
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    if (file_exists(join_path(killed, "state.bin"))) resume = "--resume ";
    const std::string model = join_path(killed, "model.safetensors");
    EXPECT_TRUE(!file_exists(model) || SafetensorsFile::open(model));
  }
  const Finished done = par5(command + (resume.empty() ? "--force" : resume));
  ASSERT_EQ(done.status, 0) << done.error;
  EXPECT_TRUE(read_text_file(join_path(killed, "model.safetensors")).value() ==
              read_text_file(join_path(straight, "model.safetensors")).value());
}

TEST_F(TrainCommandTest, PairedRunsShareSeedsAndTellTheDifference) {
  std::string other = read_text_file(join_path(work_, "toy.toml")).value();
  const std::string grid = "grid = \"quinary\"";
  other.replace(other.find(grid), grid.size(), "grid = \"ternary\"");
  ASSERT_TRUE(write_file(join_path(work_, "ternary.toml"), other, Overwrite::no));
  for (const char* name : {"toy-seed1", "toy-seed2", "ternary-seed1", "ternary-seed2"})
    (void)folder_.at("run/" + std::string(name));
  const Finished done = par5("train --threads 1 --config '" + join_path(work_, "toy.toml") + "' --config '" +
                             join_path(work_, "ternary.toml") + "' --seeds 1,2 --steps 3 --data '" + data_ +
                             "' --val '" + data_ + "' -o '" + run_ + "' --json -q");
  ASSERT_EQ(done.status, 0) << done.output << done.error;
  const auto report = nlohmann::json::parse(done.output);
  ASSERT_EQ(report["runs"].size(), 4u);
  ASSERT_EQ(report["configurations"].size(), 2u);
  const double first = report["runs"][1]["val_bpb"].get<double>() - report["runs"][0]["val_bpb"].get<double>();
  const double second = report["runs"][3]["val_bpb"].get<double>() - report["runs"][2]["val_bpb"].get<double>();
  EXPECT_NEAR(report["configurations"][1]["difference"].get<double>(), (first + second) / 2, 1e-12);
  EXPECT_TRUE(file_exists(join_path(run_, "ternary-seed2/model.safetensors")));
  EXPECT_EQ(par5("train --config '" + join_path(work_, "toy.toml") + "' --seeds 1 --resume --data x -o y").status, 2);
  EXPECT_EQ(par5(common(run_) + "--device teapot").status, 2);
}

// A disk that fills up: the file-size limit makes writes fail, and the run ends with an I/O error and no half file.
TEST_F(TrainCommandTest, FullDiskIsAnErrorAndLeavesNoHalfFile) {
  const std::string command = "(ulimit -f 8; exec '" PAR5_PROGRAM "' " + common(run_) + "--steps 3 -q) 2>/dev/null";
  const int status = std::system(command.c_str());
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 4);
  const auto names = list_folder(run_).value();
  for (const std::string& name : names) {
    EXPECT_EQ(name.find(".part."), std::string::npos) << name;
    EXPECT_NE(name, "model.safetensors");
    EXPECT_NE(name, "state.bin");
  }
}

}  // namespace
}  // namespace par5
