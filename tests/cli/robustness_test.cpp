// Bad luck on the command line: a full disk, a file-size limit, Ctrl-C. Nothing half-written is left, nothing is lost.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

namespace {

namespace fs = std::filesystem;
const std::string kPar5 = PAR5_PROGRAM;

std::string text_of(const fs::path& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

// A folder with a small text, a tokenizer and shards, made once by the program itself.
class Robustness : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = fs::temp_directory_path() / ("par5-robustness-" + std::to_string(::getpid()));
    fs::create_directories(folder_);
    const std::string demo = std::string(PAR5_SOURCE_DIR) + "/data/demo/test.jsonl.xz";
    ASSERT_EQ(shell(kPar5 + " tokenizer train " + demo + " -o tokenizer.model --vocab 512 -q"), 0)
        << text_of(folder_ / "err");
    ASSERT_EQ(shell(kPar5 + " shard " + demo + " --tokenizer tokenizer.model -o shards -q"), 0)
        << text_of(folder_ / "err");
  }
  static void TearDownTestSuite() { fs::remove_all(folder_); }

  static int shell(const std::string& command) {
    const std::string line = "cd '" + folder_.string() + "' && ( " + command + " ) >out 2>err </dev/null";
    const int status = std::system(line.c_str());
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }
  static bool has_torch() { return fs::exists(kPar5 + "-torch"); }
  // Unfinished outputs anywhere below the folder.
  static std::vector<std::string> leftovers() {
    std::vector<std::string> found;
    for (const auto& entry : fs::recursive_directory_iterator(folder_))
      if (entry.path().filename().string().find(".part.") != std::string::npos) found.push_back(entry.path());
    return found;
  }

  // Starts a command, sends `signal` after `delay`, and returns its exit status.
  static int interrupt(const std::string& command, int signal, std::chrono::milliseconds delay) {
    const pid_t child = ::fork();
    if (child == 0) {
      const std::string line = "cd '" + folder_.string() + "' && exec " + command + " >out 2>err </dev/null";
      ::execl("/bin/sh", "sh", "-c", line.c_str(), nullptr);
      ::_exit(127);
    }
    std::this_thread::sleep_for(delay);
    ::kill(child, signal);
    int status = 0;
    ::waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }

  static fs::path folder_;
};
fs::path Robustness::folder_;

const std::string kTiny =
    " --set model.vocab=512 --set model.layers=2 --set model.width=64 --set model.heads=2 --set model.kv_heads=1 --set "
    "model.mlp_width=128"
    " --set model.embedding_width=32 --set model.context=64 --set quantizer.group=64 --set train.sequence=64 --set "
    "train.batch_tokens=512"
    " --set train.micro_batch_tokens=512 --threads 1";

TEST_F(Robustness, AFullDiskKeepsTheOldFile) {
  if (std::string(PAR5_SANITIZED) != "") GTEST_SKIP() << "a preloaded library and sanitizers do not go together";
  const std::string old_model = text_of(folder_ / "tokenizer.model");
  const std::string demo = std::string(PAR5_SOURCE_DIR) + "/data/demo/test.jsonl.xz";
  const std::string full = "LD_PRELOAD='" PAR5_FULL_DISK "' PAR5_TEST_DISK_BYTES=1000 ";
  EXPECT_EQ(shell(full + kPar5 + " tokenizer train " + demo + " -o tokenizer.model --vocab 400 --force -q"), 4)
      << text_of(folder_ / "err");
  EXPECT_NE(text_of(folder_ / "err").find("No space left on device"), std::string::npos) << text_of(folder_ / "err");
  EXPECT_EQ(text_of(folder_ / "tokenizer.model"), old_model);
  EXPECT_EQ(shell(full + kPar5 + " shard " + demo + " --tokenizer tokenizer.model -o other -q"), 4)
      << text_of(folder_ / "err");
  EXPECT_FALSE(fs::exists(folder_ / "other/manifest.json"));
  EXPECT_TRUE(leftovers().empty()) << leftovers().front();
}

TEST_F(Robustness, AFileSizeLimitIsAnError) {
  const std::string demo = std::string(PAR5_SOURCE_DIR) + "/data/demo/test.jsonl.xz";
  EXPECT_EQ(shell("ulimit -f 8; " + kPar5 + " shard " + demo + " --tokenizer tokenizer.model -o limited -q"), 4)
      << text_of(folder_ / "err");
  EXPECT_NE(text_of(folder_ / "err").find("File too large"), std::string::npos) << text_of(folder_ / "err");
  EXPECT_FALSE(fs::exists(folder_ / "limited/manifest.json"));
  EXPECT_TRUE(leftovers().empty());
}

TEST_F(Robustness, ASmallFileSystemFillsUp) {
  const fs::path mount_point = folder_ / "small";
  fs::create_directories(mount_point);
  if (::mount("tmpfs", mount_point.c_str(), "tmpfs", 0, "size=16k") != 0)
    GTEST_SKIP() << "mounting a small tmpfs is not allowed here";
  const std::string demo = std::string(PAR5_SOURCE_DIR) + "/data/demo/test.jsonl.xz";
  const int status = shell(kPar5 + " shard " + demo + " --tokenizer tokenizer.model -o small/shards -q");
  const std::string error = text_of(folder_ / "err");
  const bool left = !leftovers().empty();
  ::umount(mount_point.c_str());
  EXPECT_EQ(status, 4) << error;
  EXPECT_NE(error.find("No space left on device"), std::string::npos) << error;
  EXPECT_FALSE(left);
}

TEST_F(Robustness, CtrlCDuringTrainingLeavesACheckpointThatPacks) {
  if (!has_torch()) GTEST_SKIP() << "built without LibTorch";
  for (const int signal : {SIGINT, SIGTERM}) {
    const std::string run = signal == SIGINT ? "run-int" : "run-term";
    EXPECT_EQ(interrupt("'" + kPar5 + "' train --data shards -o " + run + kTiny + " --max-seconds 120", signal,
                        std::chrono::seconds(6)),
              130)
        << text_of(folder_ / "err");
    EXPECT_TRUE(fs::exists(folder_ / run / "model.safetensors")) << text_of(folder_ / "err");
    EXPECT_EQ(shell(kPar5 + " pack " + run + "/model.safetensors -o " + run + ".par5 --no-tokenizer"), 0)
        << text_of(folder_ / "err");
    EXPECT_TRUE(leftovers().empty());
  }
}

TEST_F(Robustness, CtrlCDuringShardingLeavesNothing) {
  const std::string demo = std::string(PAR5_SOURCE_DIR) + "/data/demo/train.jsonl.xz";
  const int status =
      interrupt("'" + kPar5 + "' shard " + demo + " " + demo + " --tokenizer tokenizer.model -o cut --threads 1",
                SIGINT, std::chrono::milliseconds(700));
  EXPECT_EQ(status, 130) << text_of(folder_ / "err");
  EXPECT_FALSE(fs::exists(folder_ / "cut/manifest.json"));
  EXPECT_TRUE(leftovers().empty());
}

TEST_F(Robustness, MissingTorchHalfIsNamed) {
  // The front alone, in another folder: what needs LibTorch says what to do.
  fs::create_directories(folder_ / "alone");
  fs::copy_file(kPar5, folder_ / "alone/par5", fs::copy_options::overwrite_existing);
  EXPECT_EQ(shell("alone/par5 train --data shards -o run"), 4);
  const std::string error = text_of(folder_ / "err");
  EXPECT_NE(error.find("par5-torch"), std::string::npos) << error;
  EXPECT_NE(error.find("make"), std::string::npos) << error;
}

}  // namespace
