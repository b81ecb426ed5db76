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
