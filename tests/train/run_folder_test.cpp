#include "train/run_folder.h"

#include <gtest/gtest.h>

#include <string>

#include "tests/train/toy.h"

namespace par5 {
namespace {

class RunFolderTest : public testing::Test {
 protected:
  TestFolder folder_;
};

TEST_F(RunFolderTest, ExistingRunIsRefusedAndForceRemovesOnlyItsFiles) {
  const std::string path = folder_.at("run");
  auto folder = RunFolder::create(path, Overwrite::no).value();
  ASSERT_TRUE(RunFolder::create(path, Overwrite::no)) << "an empty folder is no run";
  for (const std::string& file : {folder.config(), folder.model(), folder.state(), folder.earlier_model(7),
                                  join_path(path, "notes.txt"), join_path(path, "model-mine.safetensors")})
    ASSERT_TRUE(write_file(file, "x", Overwrite::no));
  const auto refused = RunFolder::create(path, Overwrite::no);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::usage);
  EXPECT_NE(refused.error().message.find("--resume"), std::string::npos);
  ASSERT_TRUE(RunFolder::create(path, Overwrite::yes));
  EXPECT_EQ(list_folder(path).value(), (std::vector<std::string>{"model-mine.safetensors", "notes.txt"}));
}

TEST_F(RunFolderTest, ResumeNeedsACheckpoint) {
  const auto none = RunFolder::resume(folder_.at("nothing"));
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().code, ErrorCode::usage);
}

TEST_F(RunFolderTest, EarlierModelsArePrunedOldestFirst) {
  auto folder = RunFolder::create(folder_.at("run"), Overwrite::no).value();
  for (const std::int64_t step : {5, 100, 20, 3000})
    ASSERT_TRUE(write_file(folder.earlier_model(step), "x", Overwrite::no));
  ASSERT_TRUE(folder.prune_earlier_models(2));
  EXPECT_EQ(list_folder(folder.path()).value(),
            (std::vector<std::string>{"model-0000000100.safetensors", "model-0000003000.safetensors"}));
}

TEST_F(RunFolderTest, MetricsContinueAfterTheCheckpoint) {
  auto folder = RunFolder::create(folder_.at("run"), Overwrite::no).value();
  {
    auto log = MetricsLog::open(folder.metrics(), 0).value();
    for (const char* line : {R"({"step":1})", R"({"step":2})", R"({"step":3})"}) ASSERT_TRUE(log.append(line));
  }
  ASSERT_TRUE(write_file(folder.metrics(), read_text_file(folder.metrics()).value() + "{\"ste", Overwrite::yes));
  auto log = MetricsLog::open(folder.metrics(), 2).value();
  ASSERT_TRUE(log.append(R"({"step":9})"));
  EXPECT_EQ(read_text_file(folder.metrics()).value(), "{\"step\":1}\n{\"step\":2}\n{\"step\":9}\n");
}

}  // namespace
}  // namespace par5
