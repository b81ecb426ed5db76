#include "train/tensorboard.h"

#include <gtest/gtest.h>

#include <cstring>

namespace par5 {
namespace {

std::uint32_t unmask(std::uint32_t masked) {
  const std::uint32_t rotated = masked - 0xa282ead8u;
  return rotated >> 17 | rotated << 15;
}

TEST(Tensorboard, ChecksumIsCastagnolis) {
  EXPECT_EQ(unmask(masked_crc32c("123456789")), 0xe3069283u);
  EXPECT_EQ(unmask(masked_crc32c("")), 0u);
}

template <class Number>
Number at(const std::string& bytes, std::size_t offset) {
  Number value{};
  EXPECT_LE(offset + sizeof(Number), bytes.size());
  std::memcpy(&value, bytes.data() + offset, sizeof(Number));
  return value;
}

TEST(Tensorboard, RecordsAreFramedEvents) {
  for (const std::string& record :
       {tensorboard_header(1.5), tensorboard_record(2.5, 300, {{"loss", 3.25}, {"lr", 0.01}})}) {
    const auto length = at<std::uint64_t>(record, 0);
    ASSERT_EQ(record.size(), length + 16);
    EXPECT_EQ(at<std::uint32_t>(record, 8), masked_crc32c(record.substr(0, 8)));
    EXPECT_EQ(at<std::uint32_t>(record, 12 + length), masked_crc32c(record.substr(12, length)));
  }
  // Written by hand from the protocol buffers' definition: wall_time 2.5, step 300, summary { value { tag, simple_value
  // } }.
  const std::string expected(
      "\x09\0\0\0\0\0\0\x04\x40"
      "\x10\xac\x02"
      "\x2a\x0d"
      "\x0a\x0b"
      "\x0a\x04loss"
      "\x15\0\0\x50\x40",
      27);
  EXPECT_EQ(tensorboard_record(2.5, 300, {{"loss", 3.25}}).substr(12, 27), expected);
  EXPECT_NE(tensorboard_header(0).find("brain.Event:2"), std::string::npos);
}

}  // namespace
}  // namespace par5
