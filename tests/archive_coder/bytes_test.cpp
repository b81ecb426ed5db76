#include "archive/coder/bytes.h"

#include <gtest/gtest.h>

#include <random>
#include <string>

#include "core/file.h"
#include "core/hash.h"

namespace par5::coder {
namespace {

using Strings = std::vector<std::vector<std::byte>>;

std::vector<std::byte> encode(const Strings& strings, std::vector<std::uint64_t>* string_bytes = nullptr) {
  const std::vector<std::span<const std::byte>> views(strings.begin(), strings.end());
  return encode_bytes(views, string_bytes);
}
Result<std::vector<std::uint64_t>> decode(std::span<const std::byte> bytes, Strings& strings) {
  const std::vector<std::span<std::byte>> views(strings.begin(), strings.end());
  return decode_bytes(bytes, views);
}

std::vector<std::byte> pieces() {
  std::string text;
  for (int i = 0; i < 1500; ++i) text += (i % 3 ? "\xe2\x96\x81" : "") + std::to_string(i * 7 % 1000) + "ing";
  const auto bytes = as_bytes(text);
  return {bytes.begin(), bytes.end()};
}

void expect_round_trip(const Strings& strings) {
  std::vector<std::uint64_t> string_bytes;
  const std::vector<std::byte> bytes = encode(strings, &string_bytes);
  Strings decoded;
  for (const auto& string : strings) decoded.emplace_back(string.size());
  const auto decoded_bytes = decode(bytes, decoded);
  ASSERT_TRUE(decoded_bytes) << to_string(decoded_bytes.error());
  EXPECT_EQ(decoded, strings);
  EXPECT_EQ(*decoded_bytes, string_bytes);
}

TEST(ByteStrings, RoundTrip) {
  expect_round_trip({});
  expect_round_trip({{}, {std::byte{7}}, {}});
  expect_round_trip({pieces(), pieces()});
  std::mt19937 random(3);
  std::vector<std::byte> noise(20000);
  for (std::byte& byte : noise) byte = static_cast<std::byte>(random());
  expect_round_trip({noise, std::vector<std::byte>(1000)});
}

TEST(ByteStrings, RepetitionsCostLittle) {
  EXPECT_LT(encode({pieces()}).size(), pieces().size() / 4);
  EXPECT_LT(encode({std::vector<std::byte>(20000)}).size(), 100u);
}

TEST(ByteStrings, BytesAreThoseOfTheFormat) { EXPECT_EQ(sha256_hex(encode({pieces()})).substr(0, 8), "0a99d4bb"); }

TEST(ByteStrings, TruncatedAndHostileStreamsAreNoticed) {
  const Strings strings = {std::vector<std::byte>(200, std::byte{'a'}), pieces()};
  const std::vector<std::byte> bytes = encode(strings);
  Strings decoded = strings;
  for (std::size_t length = 0; length < bytes.size(); length += 499)
    EXPECT_FALSE(decode(std::span(bytes).first(length), decoded)) << length;
  std::vector<std::byte> longer = bytes;
  longer.push_back(std::byte{0});
  EXPECT_FALSE(decode(longer, decoded));
  std::mt19937 random(4);
  for (int i = 0; i < 20; ++i) {
    std::vector<std::byte> noise(random() % 3000);
    for (std::byte& byte : noise) byte = static_cast<std::byte>(random());
    EXPECT_FALSE(decode(noise, decoded));
  }
}

}  // namespace
}  // namespace par5::coder
