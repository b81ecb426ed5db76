#include "archive/coder/half.h"

#include <gtest/gtest.h>

#include <random>

#include "core/half.h"
#include "core/hash.h"

namespace par5::coder {
namespace {

using Vectors = std::vector<std::vector<std::uint16_t>>;

std::vector<std::byte> encode(const Vectors& vectors) {
  const std::vector<std::span<const std::uint16_t>> views(vectors.begin(), vectors.end());
  return encode_halves(views);
}

Status decode(std::span<const std::byte> bytes, Vectors& vectors) {
  const std::vector<std::span<std::uint16_t>> views(vectors.begin(), vectors.end());
  return decode_halves(bytes, views).map([](const auto&) {});
}

Vectors gains() {
  std::mt19937 random(1);
  Vectors vectors(12, std::vector<std::uint16_t>(96));
  for (std::size_t v = 0; v < vectors.size(); ++v)
    for (std::size_t i = 0; i < 96; ++i)
      vectors[v][i] =
          half_from_float(1.0f + 0.01f * static_cast<float>(i % 7) + static_cast<float>(random() % 1000) * 1e-4f);
  return vectors;
}

void expect_round_trip(const Vectors& vectors) {
  const std::vector<std::byte> bytes = encode(vectors);
  Vectors decoded;
  for (const auto& vector : vectors) decoded.emplace_back(vector.size());
  const Status status = decode(bytes, decoded);
  ASSERT_TRUE(status) << to_string(status.error());
  EXPECT_EQ(decoded, vectors);
}

TEST(Halves, RoundTrip) {
  expect_round_trip({});
  expect_round_trip({{}, {0x3c00}, {}});
  expect_round_trip(gains());
  Vectors all(1);
  for (unsigned value = 0; value < 65536; ++value) all[0].push_back(static_cast<std::uint16_t>(value));
  expect_round_trip(all);
}

TEST(Halves, AreSmallerThanTheirBits) { EXPECT_LT(encode(gains()).size(), 12u * 96 * 2 * 8 / 10); }

TEST(Halves, BytesAreThoseOfTheFormat) { EXPECT_EQ(sha256_hex(encode(gains())).substr(0, 8), "4e763ee6"); }

TEST(Halves, TruncatedAndHostileStreamsAreNoticed) {
  const Vectors vectors = gains();
  const std::vector<std::byte> bytes = encode(vectors);
  Vectors decoded = vectors;
  for (std::size_t length = 0; length < bytes.size(); length += 97)
    EXPECT_FALSE(decode(std::span(bytes).first(length), decoded));
  std::vector<std::byte> longer = bytes;
  longer.push_back(std::byte{7});
  EXPECT_FALSE(decode(longer, decoded));
  std::mt19937 random(2);
  for (int round = 0; round < 15; ++round) {
    std::vector<std::byte> noise(random() % 3000);
    for (std::byte& byte : noise) byte = static_cast<std::byte>(random());
    (void)decode(noise, decoded);
  }
}

}  // namespace
}  // namespace par5::coder
