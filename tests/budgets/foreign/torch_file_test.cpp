#include "budgets/foreign/torch_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "core/file.h"
#include "tests/support/torch_writer.h"

namespace par5 {
namespace {

using test::PickleWriter;
using test::torch_file;
using test::zip_file;

std::string floats(const std::vector<float>& values) {
  return std::string(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float));
}

// {"model": {"w": [2, 3], "w_t": its transpose, "half": bfloat16 [2]}, "step": 7, "list": [w]}
std::string example() {
  PickleWriter pickle;
  pickle.raw("}(").string("model").raw("}(");
  pickle.string("w").tensor("FloatStorage", "0", 7, 1, {2, 3}, {3, 1});
  pickle.string("w_t").tensor("FloatStorage", "0", 7, 1, {3, 2}, {1, 3});
  pickle.string("half").tensor("BFloat16Storage", "1", 2, 0, {2}, {1});
  pickle.raw("u")
      .string("step")
      .integer(7)
      .string("list")
      .raw("](")
      .tensor("FloatStorage", "0", 7, 0, {}, {})
      .raw("eu");
  return torch_file(pickle.finish(), {{"0", floats({9, 0, 1, 2, 3, 4, 5})}, {"1", std::string("\x80\x3f\x00\x40", 4)}});
}

TEST(TorchFile, TensorsAreViewsOfTheirStorages) {
  const std::string bytes = example();
  const auto file = read_torch_file(as_bytes(bytes), "model.pt");
  ASSERT_TRUE(file) << to_string(file.error());
  ASSERT_EQ(file->tensors.size(), 4u);
  EXPECT_TRUE(file->skipped.empty());
  EXPECT_TRUE(file->dangerous.empty());
  EXPECT_EQ(file->tensors[0].name, "model.w");
  EXPECT_EQ(*to_floats(*file->tensors[0].view()), (std::vector<float>{0, 1, 2, 3, 4, 5}));
  EXPECT_EQ(file->tensors[1].name, "model.w_t");
  EXPECT_FALSE(file->tensors[1].view());
  EXPECT_EQ(*to_floats(file->tensors[1].copy()->view()), (std::vector<float>{0, 3, 1, 4, 2, 5}));
  EXPECT_EQ(file->tensors[2].dtype, DType::bfloat16);
  EXPECT_EQ(*to_floats(*file->tensors[2].view()), (std::vector<float>{1, 2}));
  EXPECT_EQ(file->tensors[3].name, "list.0");
  EXPECT_EQ(*to_floats(*file->tensors[3].view()), std::vector<float>{9});
}

TEST(TorchFile, TensorsOutsideTheirStorageAreNotRead) {
  struct Case {
    std::int64_t offset;
    std::vector<std::int64_t> shape, strides;
  };
  for (const Case& c : {Case{1, {2, 2}, {2, 1}}, Case{0, {5}, {1}}, Case{-1, {1}, {1}}, Case{0, {2}, {4}},
                        Case{0, {-1}, {1}}, Case{0, {2}, {-1}}, Case{0, {1LL << 40, 1LL << 40}, {0, 0}},
                        Case{0, {1LL << 62}, {1LL << 62}}, Case{4, {1}, {1}}}) {
    PickleWriter pickle;
    pickle.raw("}(").string("w").tensor("FloatStorage", "0", 4, c.offset, c.shape, c.strides).raw("u");
    const std::string bytes = torch_file(pickle.finish(), {{"0", floats({1, 2, 3, 4})}});
    const auto file = read_torch_file(as_bytes(bytes), "model.pt");
    ASSERT_TRUE(file) << to_string(file.error());
    EXPECT_TRUE(file->tensors.empty()) << c.offset;
    EXPECT_THAT(file->skipped, testing::ElementsAre(testing::HasSubstr("too small")));
  }
}

TEST(TorchFile, HostilePicklesInsideAreListed) {
  PickleWriter pickle;
  pickle.raw("}(")
      .string("w")
      .tensor("FloatStorage", "0", 1, 0, {1}, {1})
      .string("x")
      .global("os", "system")
      .raw("(")
      .string("id")
      .raw("tR")
      .raw("u");
  const std::string bytes = torch_file(pickle.finish(), {{"0", floats({1})}});
  const auto file = read_torch_file(as_bytes(bytes), "model.pt");
  ASSERT_TRUE(file) << to_string(file.error());
  EXPECT_THAT(file->dangerous, testing::ElementsAre("os.system"));
  EXPECT_EQ(file->tensors.size(), 1u);
}

TEST(TorchFile, DamagedFilesNeverCrash) {
  const std::string good = example();
  std::mt19937 generator(3);
  for (int i = 0; i < 3000; ++i) {
    std::string changed = good;
    if (i % 3 == 0) changed.resize(generator() % changed.size());
    for (auto edits = generator() % 4; edits > 0 && !changed.empty(); --edits)
      changed[generator() % changed.size()] = static_cast<char>(generator());
    const auto file = read_torch_file(as_bytes(changed), "changed.pt");
    if (!file) continue;
    for (const TorchTensor& tensor : file->tensors) (void)tensor.copy();
  }
  const auto old = read_torch_file(as_bytes(std::string_view("\x80\x02\x8a\nl\xfc\x9c")), "old.pt");
  ASSERT_FALSE(old);
  EXPECT_THAT(old.error().message, testing::HasSubstr("before version 1.6"));
}

TEST(Zip, BombsAndForeignMethodsAreRefused) {
  const std::string bomb = zip_file({{"a/data.pkl", std::string(3'000'000, '\0'), true}});
  const auto zip = read_zip(as_bytes(bomb), "bomb.zip");
  ASSERT_TRUE(zip) << to_string(zip.error());
  const auto content = zip->read(zip->entries[0], 1'000'000);
  ASSERT_FALSE(content);
  EXPECT_EQ(content.error().code, ErrorCode::resource_limit);
  // A directory that understates the size does not help.
  std::string lying = bomb;
  const std::size_t directory = lying.find("PK\x01\x02");
  lying.replace(directory + 24, 4, test::little_endian(1000, 4));
  const auto understated = read_zip(as_bytes(lying), "lying.zip");
  ASSERT_TRUE(understated);
  EXPECT_FALSE(understated->read(understated->entries[0], 1'000'000));
  // Two entries over the same bytes.
  std::string overlapping = zip_file({{"a", "hello"}, {"b", "world"}});
  const std::size_t second = overlapping.rfind("PK\x01\x02");
  overlapping.replace(second + 42, 4, test::little_endian(0, 4));
  EXPECT_FALSE(read_zip(as_bytes(overlapping), "overlap.zip"));
  std::string method = zip_file({{"a", "hello"}});
  method[method.find("PK\x01\x02") + 10] = 14;
  EXPECT_FALSE(read_zip(as_bytes(method), "method.zip"));
  EXPECT_FALSE(read_zip(as_bytes(std::string_view("PK")), "short.zip"));
}

TEST(Zip, DeflatedEntriesComeBack) {
  const std::string text = "the same text again and again, the same text again and again";
  const std::string bytes = zip_file({{"stored", text}, {"deflated", text, true}});
  const auto zip = read_zip(as_bytes(bytes), "x.zip");
  ASSERT_TRUE(zip);
  for (const ZipEntry& entry : zip->entries) EXPECT_EQ(*zip->read(entry, 1000), text);
  EXPECT_FALSE(zip->view(*zip->find("deflated")));
  EXPECT_TRUE(zip->view(*zip->find("stored")));
}

}  // namespace
}  // namespace par5
