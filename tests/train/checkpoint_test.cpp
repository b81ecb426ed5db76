#include "train/checkpoint.h"

#include <gtest/gtest.h>

#include "core/safetensors.h"
#include "tests/train/toy.h"

namespace par5 {
namespace {

class CheckpointTest : public testing::Test {
 protected:
  std::string path() { return join_path(folder_path_, "state.bin"); }
  void SetUp() override {
    folder_path_ = folder_.at("run");
    ASSERT_TRUE(make_folders(folder_path_));
  }
  static std::vector<NamedTensor> tensors(float value) {
    return {{"a", torch::full({2, 3}, value)}, {"b", torch::full({5}, 7, torch::kUInt8)}};
  }
  TestFolder folder_;
  std::string folder_path_;
};

TEST_F(CheckpointTest, StateComesBackWhole) {
  RunPosition position{12, 3456, 7.0625, 5.123456789012345, 1.75, 12, {3, 9}};
  ASSERT_TRUE(write_state(path(), position, {{"train.seed", "5"}}, tensors(0.1f)));
  const auto into = tensors(0.0f);
  const RunPosition back = read_state(path(), {{"train.seed", "5"}}, into).value();
  EXPECT_EQ(back.step, 12);
  EXPECT_EQ(back.tokens, 3456);
  EXPECT_EQ(back.seconds, 7.0625);
  EXPECT_EQ(back.loss, 5.123456789012345);
  EXPECT_EQ(back.optimizer_steps, 12);
  EXPECT_EQ(back.loader, (LoaderPosition{3, 9}));
  EXPECT_TRUE(torch::equal(into[0].tensor, tensors(0.1f)[0].tensor));
}

TEST_F(CheckpointTest, AnotherIdentityIsRefusedByName) {
  ASSERT_TRUE(write_state(path(), {}, {{"train.seed", "5"}}, tensors(1)));
  const auto refused = read_state(path(), {{"train.seed", "6"}}, tensors(0));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::usage);
  EXPECT_EQ(refused.error().key, "train.seed");
  EXPECT_NE(refused.error().message.find("5, not 6"), std::string::npos) << refused.error().message;
}

TEST_F(CheckpointTest, ForeignTruncatedAndMisshapenStatesAreBadData) {
  ASSERT_TRUE(write_state(path(), {}, {}, tensors(1)));
  const auto bytes = read_file(path()).value();
  for (std::size_t size = 0; size < bytes.size(); size += 11) {
    ASSERT_TRUE(write_file(path(), std::span(bytes).first(size), Overwrite::yes));
    const auto into = tensors(0);
    const auto cut = read_state(path(), {}, into);
    ASSERT_FALSE(cut);
    EXPECT_EQ(cut.error().code, ErrorCode::bad_data);
    EXPECT_EQ(into[0].tensor.sum().item<float>(), 0.0f) << "nothing may change before all is checked";
  }
  ASSERT_TRUE(write_state(path(), {}, {}, {{"a", torch::zeros({3, 2})}, {"b", torch::zeros({5}, torch::kUInt8)}}));
  EXPECT_EQ(read_state(path(), {}, tensors(0)).error().code, ErrorCode::bad_data);
  ASSERT_TRUE(write_safetensors(path(), {}, {}, Overwrite::yes));
  EXPECT_EQ(read_state(path(), {}, tensors(0)).error().code, ErrorCode::bad_data);
}

}  // namespace
}  // namespace par5
