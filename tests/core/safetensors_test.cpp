#include "core/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <random>

namespace par5 {
namespace {

using testing::HasSubstr;

// A file in memory: length, header as given, `data_bytes` bytes of data.
std::string file_of(std::string_view header, std::size_t data_bytes) {
  std::string bytes(8, '\0');
  for (std::size_t i = 0; i < 8; ++i) bytes[i] = static_cast<char>(header.size() >> (8 * i));
  return bytes.append(header).append(data_bytes, '\x01');
}

void expect_refused(const std::string& bytes, const std::string& part_of_message) {
  const auto file = SafetensorsFile::parse(as_bytes(bytes), "x.safetensors");
  ASSERT_FALSE(file) << part_of_message;
  EXPECT_EQ(file.error().code, ErrorCode::bad_data);
  EXPECT_EQ(file.error().file, "x.safetensors");
  EXPECT_THAT(file.error().message, HasSubstr(part_of_message));
}

TEST(Safetensors, WritesAndReadsEveryTypeAndTheMetadata) {
  const auto folder = TemporaryFolder::create();
  ASSERT_TRUE(folder);
  const std::string path = join_path(folder->path(), "t.safetensors");
  std::vector<Tensor> tensors;
  for (const DType dtype : {DType::float64, DType::float32, DType::float16, DType::bfloat16, DType::float8_e4m3,
                            DType::int64, DType::int32, DType::int16, DType::int8, DType::uint8, DType::boolean}) {
    Tensor tensor{std::string(dtype_name(dtype)) + " \"quoted\" é",
                  dtype,
                  {2, 3},
                  std::vector<std::byte>(6 * bytes_per_element(dtype))};
    for (std::size_t i = 0; i < tensor.data.size(); ++i) tensor.data[i] = static_cast<std::byte>(i * 7);
    tensors.push_back(std::move(tensor));
  }
  tensors.push_back({"scalar", DType::float32, {}, std::vector<std::byte>(4)});
  tensors.push_back({"empty", DType::float32, {0, 5}, {}});
  std::vector<TensorView> views;
  for (const Tensor& tensor : tensors) views.push_back(tensor.view());
  const std::map<std::string, std::string> metadata = {{"par5.config", "[model]\nlayers = 2\n"}, {"format", "pt"}};
  ASSERT_TRUE(write_safetensors(path, views, metadata, Overwrite::no));
  EXPECT_EQ(write_safetensors(path, views, metadata, Overwrite::no).error().code, ErrorCode::usage);

  const auto file = SafetensorsFile::open(path);
  ASSERT_TRUE(file) << to_string(file.error());
  EXPECT_EQ(file->metadata(), metadata);
  ASSERT_EQ(file->tensors().size(), tensors.size());
  for (const Tensor& tensor : tensors) {
    const TensorView* view = file->find(tensor.name);
    ASSERT_TRUE(view) << tensor.name;
    EXPECT_EQ(view->dtype, tensor.dtype);
    EXPECT_EQ(view->shape, tensor.shape);
    EXPECT_TRUE(std::equal(view->data.begin(), view->data.end(), tensor.data.begin(), tensor.data.end()));
  }
  EXPECT_EQ(file->find("nothing"), nullptr);
  // The same input gives the same bytes.
  const std::string second = join_path(folder->path(), "u.safetensors");
  ASSERT_TRUE(write_safetensors(second, views, metadata, Overwrite::no));
  EXPECT_EQ(read_file(path).value(), read_file(second).value());
}

TEST(Safetensors, RefusesWhatIsNoHeader) {
  expect_refused("", "too short");
  expect_refused("1234567", "too short");
  expect_refused(std::string(8, '\xff'), "header claims 18446744073709551615 bytes");
  expect_refused(std::string("\x09\0\0\0\0\0\0\0{}", 10), "header claims 9 bytes");
  expect_refused(file_of("", 0), "not a safetensors file");
  expect_refused(file_of("[]", 0), "not a safetensors file");
  expect_refused(file_of("{\"a\":", 0), "not valid JSON");
  expect_refused(file_of("{\"a\": \xff\xfe}", 0), "not valid JSON");
  expect_refused(file_of("{} trailing", 0), "not valid JSON");
  expect_refused(file_of("{\"a\": 1}", 0), "does not have exactly");
  std::string deep = "{\"a\": ";
  for (int i = 0; i < 100000; ++i) deep += '[';
  expect_refused(file_of(deep, 0), "");
}

TEST(Safetensors, RefusesBadEntries) {
  const auto entry = [](const std::string& fields) { return file_of("{\"a\":{" + fields + "}}", 8); };
  const std::string range = "\"data_offsets\":[0,8]", type = "\"dtype\":\"F32\"";
  expect_refused(entry(type + ",\"shape\":[2]"), "does not have exactly");
  expect_refused(entry(type + ",\"shape\":[2]," + range + ",\"more\":1"), "does not have exactly");
  expect_refused(entry("\"dtype\":\"F33\",\"shape\":[2]," + range), "unsupported element type 'F33'");
  expect_refused(entry("\"dtype\":32,\"shape\":[2]," + range), "dtype that is not a string");
  expect_refused(entry(type + ",\"shape\":2," + range), "shape that is not a short array");
  expect_refused(entry(type + ",\"shape\":[-2]," + range), "impossible shape");
  expect_refused(entry(type + ",\"shape\":[2.0]," + range), "impossible shape");
  expect_refused(entry(type + ",\"shape\":[18446744073709551615]," + range), "impossible shape");
  expect_refused(entry(type + ",\"shape\":[4294967296,4294967296]," + range), "impossible shape");
  expect_refused(entry(type + ",\"shape\":[1099511627776,1099511627776,0]," + range), "impossible shape");
  expect_refused(entry(type + ",\"shape\":[3]," + range), "which its shape [3] does not need");
  expect_refused(entry(type + ",\"shape\":[2],\"data_offsets\":[0]"), "not two counts");
  expect_refused(entry(type + ",\"shape\":[2],\"data_offsets\":[-1,7]"), "not two counts");
  expect_refused(entry(type + ",\"shape\":[2],\"data_offsets\":[8,0]"), "truncated or damaged");
  expect_refused(entry(type + ",\"shape\":[3],\"data_offsets\":[0,12]"), "truncated or damaged");
  expect_refused(entry(type + ",\"shape\":[2],\"data_offsets\":[0,18446744073709551615]"), "truncated or damaged");
}

TEST(Safetensors, RefusesOverlapsHolesLeftoversAndDuplicates) {
  const auto tensor = [](const std::string& name, int begin, int end) {
    return "\"" + name + "\":{\"dtype\":\"U8\",\"shape\":[" + std::to_string(end - begin) + "],\"data_offsets\":[" +
           std::to_string(begin) + "," + std::to_string(end) + "]}";
  };
  const std::string a = tensor("a", 0, 4);
  EXPECT_TRUE(SafetensorsFile::parse(as_bytes(file_of("{" + a + "," + tensor("b", 4, 8) + "}", 8)), "x"));
  // Order in the header is free.
  EXPECT_TRUE(SafetensorsFile::parse(as_bytes(file_of("{" + tensor("b", 4, 8) + "," + a + "}", 8)), "x"));
  expect_refused(file_of("{" + a + "," + tensor("b", 3, 8) + "}", 8), "overlap or leave a hole before 'b'");
  expect_refused(file_of("{" + a + "," + tensor("b", 0, 4) + "}", 4), "overlap or leave a hole");
  expect_refused(file_of("{" + a + "," + tensor("b", 5, 8) + "}", 8), "overlap or leave a hole before 'b'");
  expect_refused(file_of("{" + tensor("b", 4, 8) + "}", 8), "overlap or leave a hole before 'b'");
  expect_refused(file_of("{" + a + "}", 5), "bytes after its last tensor");
  expect_refused(file_of("{" + a + "," + a + "}", 4), "names 'a' twice");
  expect_refused(file_of("{\"a\":{\"dtype\":\"U8\",\"dtype\":\"I8\",\"shape\":[4],\"data_offsets\":[0,4]}}", 4),
                 "names 'dtype' twice");
  expect_refused(file_of("{\"__metadata__\":[]}", 0), "not an object");
  expect_refused(file_of("{\"__metadata__\":{\"a\":1}}", 0), "not a string");
  expect_refused(file_of("{\"__metadata__\":{\"a\":\"1\",\"a\":\"2\"}}", 0), "names 'a' twice");
}

TEST(Safetensors, EveryTruncationIsRefusedAndEveryFlipIsSurvived) {
  const std::string whole = file_of(
      R"({"__metadata__":{"k":"v"},"a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},"b":{"dtype":"I8","shape":[5],"data_offsets":[24,29]}})",
      29);
  ASSERT_TRUE(SafetensorsFile::parse(as_bytes(whole), "x.safetensors"));
  for (std::size_t size = 0; size < whole.size(); ++size) {
    const auto file = SafetensorsFile::parse(as_bytes(whole).first(size), "x.safetensors");
    ASSERT_FALSE(file) << size;
    EXPECT_EQ(file.error().code, ErrorCode::bad_data);
  }
  // A flipped bit may make another valid file; whatever is read must lie inside the bytes.
  for (std::size_t bit = 0; bit < 8 * whole.size(); ++bit) {
    std::string flipped = whole;
    flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << bit % 8));
    const auto bytes = as_bytes(flipped);
    const auto file = SafetensorsFile::parse(bytes, "x.safetensors");
    if (!file) continue;
    for (const TensorView& tensor : file->tensors()) {
      EXPECT_GE(tensor.data.data(), bytes.data());
      EXPECT_LE(tensor.data.data() + tensor.data.size(), bytes.data() + bytes.size());
      EXPECT_EQ(tensor.data.size(),
                static_cast<std::size_t>(element_count(tensor.shape)) * bytes_per_element(tensor.dtype));
    }
  }
}

TEST(Safetensors, MissingFilesAreNamed) {
  const auto file = SafetensorsFile::open("/nonexistent/x.safetensors");
  ASSERT_FALSE(file);
  EXPECT_EQ(file.error().code, ErrorCode::io);
  EXPECT_EQ(exit_status(file.error().code), 4);
}

}  // namespace
}  // namespace par5
