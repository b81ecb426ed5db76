// Every kind of file with weights gives the same tensors, and none is run.
#include "budgets/weights_file.h"

#include <gtest/gtest.h>

#include <cstring>

#include "core/file.h"
#include "core/safetensors.h"
#include "tests/support/torch_writer.h"

namespace par5 {
namespace {

class WeightsFiles : public testing::Test {
 protected:
  void SetUp() override {
    auto folder = TemporaryFolder::create();
    ASSERT_TRUE(folder);
    folder_ = std::make_unique<TemporaryFolder>(std::move(*folder));
  }
  std::string path(const std::string& name) const { return join_path(folder_->path(), name); }
  static std::vector<float> values_of(const WeightsEntry& entry) {
    const auto held = entry.read();
    EXPECT_TRUE(held) << to_string(held.error());
    return *to_floats(held->view());
  }
  void write(const std::string& name, const std::vector<Tensor>& tensors) {
    std::vector<TensorView> views;
    for (const Tensor& tensor : tensors) views.push_back(tensor.view());
    ASSERT_TRUE(write_safetensors(path(name), views, {}, Overwrite::yes));
  }
  std::unique_ptr<TemporaryFolder> folder_;
};

const std::vector<float> kA = {1, 2, 3, 4, 5, 6}, kB = {7, 8};

TEST_F(WeightsFiles, Safetensors) {
  write("model.safetensors", {Tensor::from_floats("a", {2, 3}, kA), Tensor::from_floats("b", {2}, kB)});
  for (const std::string& name : {path("model.safetensors"), folder_->path()}) {
    const auto file = open_weights(name);
    ASSERT_TRUE(file) << to_string(file.error());
    EXPECT_EQ(file->format, "safetensors");
    ASSERT_EQ(file->tensors.size(), 2u);
    EXPECT_EQ(values_of(file->tensors[0]), kA);
    EXPECT_EQ(values_of(file->tensors[0]), kA) << "a tensor can be read again after its pages were given back";
    EXPECT_EQ(file->tensors[1].weights, 2);
  }
}

TEST_F(WeightsFiles, ShardsByTheirIndex) {
  write("one.safetensors", {Tensor::from_floats("a", {2, 3}, kA)});
  write("two.safetensors", {Tensor::from_floats("b", {2}, kB)});
  const std::string index = path("model.safetensors.index.json");
  ASSERT_TRUE(write_file(index, R"({"weight_map": {"b": "two.safetensors", "a": "one.safetensors"}})", Overwrite::yes));
  const auto file = open_weights(folder_->path());
  ASSERT_TRUE(file) << to_string(file.error());
  EXPECT_EQ(file->files.size(), 2u);
  EXPECT_EQ(values_of(file->tensors[0]), kA);
  EXPECT_EQ(values_of(file->tensors[1]), kB);
  ASSERT_TRUE(write_file(index, R"({"weight_map": {"b": "one.safetensors"}})", Overwrite::yes));
  EXPECT_EQ(open_weights(index).error().code, ErrorCode::bad_data);
  ASSERT_TRUE(write_file(index, R"({"weight_map": {"a": "three.safetensors"}})", Overwrite::yes));
  EXPECT_EQ(open_weights(index).error().code, ErrorCode::io);
  ASSERT_TRUE(write_file(index, "[]", Overwrite::yes));
  EXPECT_EQ(open_weights(index).error().code, ErrorCode::bad_data);
}

TEST_F(WeightsFiles, TorchFilesAreReadNotRun) {
  test::PickleWriter pickle;
  pickle.raw("}(").string("a").tensor("FloatStorage", "0", 6, 0, {2, 3}, {3, 1});
  pickle.string("transposed").tensor("FloatStorage", "0", 6, 0, {3, 2}, {1, 3});
  pickle.string("evil").global("os", "system").raw("(").string("touch " + path("ran")).raw("tRu");
  std::string storage(24, '\0');
  std::memcpy(storage.data(), kA.data(), 24);
  ASSERT_TRUE(write_file(path("model.bin"), test::torch_file(pickle.finish(), {{"0", storage}}), Overwrite::yes));
  const auto file = open_weights(path("model.bin"));
  ASSERT_TRUE(file) << to_string(file.error());
  EXPECT_EQ(file->format, "torch");
  ASSERT_EQ(file->tensors.size(), 2u);
  EXPECT_EQ(values_of(file->tensors[0]), kA);
  EXPECT_EQ(values_of(file->tensors[1]), (std::vector<float>{1, 4, 2, 5, 3, 6}));
  ASSERT_EQ(file->notes.size(), 1u);
  EXPECT_NE(file->notes[0].find("os.system"), std::string::npos);
  EXPECT_FALSE(file_exists(path("ran")));
}

TEST_F(WeightsFiles, WhatIsNoneSaysSo) {
  EXPECT_EQ(open_weights(path("missing")).error().code, ErrorCode::io);
  EXPECT_EQ(open_weights(folder_->path()).error().code, ErrorCode::usage);
  ASSERT_TRUE(write_file(path("text"), "this is no model", Overwrite::no));
  EXPECT_EQ(open_weights(path("text")).error().code, ErrorCode::bad_data);
  ASSERT_TRUE(write_file(path("fake"), "par5 and nothing", Overwrite::no));
  EXPECT_EQ(open_weights(path("fake")).error().code, ErrorCode::bad_data);
}

}  // namespace
}  // namespace par5
