#include "eval/coding/interval_coder.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>
#include <random>

namespace par5 {
namespace {

struct Row {
  std::vector<std::uint64_t> frequencies;
  std::uint64_t total = 0;
  std::size_t token = 0;
  Interval interval() const {
    std::uint64_t start = 0;
    for (std::size_t t = 0; t < token; ++t) start += frequencies[t];
    return {start, frequencies[token], total};
  }
};

// Rows of every temper: flat, peaked, of few and of many tokens, with totals up to 2^57.
Row random_row(std::mt19937_64& random) {
  Row row;
  const std::size_t vocab = 1 + random() % 300;
  const int bits = static_cast<int>(random() % 49);
  for (std::size_t t = 0; t < vocab; ++t)
    row.frequencies.push_back(1 + (random() & ((std::uint64_t{1} << bits) - 1)) * (random() % 4 == 0));
  if (random() % 3 == 0) row.frequencies[random() % vocab] = std::uint64_t{1} << 48;
  row.total = std::accumulate(row.frequencies.begin(), row.frequencies.end(), std::uint64_t{0});
  row.token = random() % 2 == 0
                  ? random() % vocab
                  : static_cast<std::size_t>(std::max_element(row.frequencies.begin(), row.frequencies.end()) -
                                             row.frequencies.begin());
  return row;
}

TEST(IntervalCoder, RoundTripsAtTheClaimedLength) {
  std::mt19937_64 random(1);
  for (const int count : {0, 1, 2, 3, 10, 5000}) {
    std::vector<Row> rows;
    IntervalEncoder encoder;
    double bits = 0;
    for (int i = 0; i < count; ++i) {
      rows.push_back(random_row(random));
      encoder.code(rows.back().interval());
      bits += std::log2(static_cast<double>(rows.back().total) /
                        static_cast<double>(rows.back().frequencies[rows.back().token]));
    }
    const std::vector<std::byte> bytes = encoder.finish();
    EXPECT_LE(static_cast<double>(bytes.size()), bits / 8 * 1.0001 + 8) << count;
    IntervalDecoder decoder(bytes);
    for (const Row& row : rows) ASSERT_EQ(decoder.code(row.frequencies, row.total), row.token);
    EXPECT_TRUE(decoder.at_end());
    EXPECT_FALSE(decoder.exhausted());
  }
}

// Long runs of the last, rare token of a row push `low` to the top of the interval, where carries come from.
TEST(IntervalCoder, CarriesThroughRunsOfFf) {
  const std::vector<std::uint64_t> frequencies = {(std::uint64_t{1} << 40) - 3, 1, 2};
  const std::uint64_t total = std::uint64_t{1} << 40;
  std::mt19937_64 random(2);
  for (int round = 0; round < 200; ++round) {
    std::vector<std::size_t> tokens;
    IntervalEncoder encoder;
    for (int i = 0; i < 60; ++i) {
      tokens.push_back(random() % 4 == 0 ? random() % 3 : 2);
      std::uint64_t start = 0;
      for (std::size_t t = 0; t < tokens.back(); ++t) start += frequencies[t];
      encoder.code({start, frequencies[tokens.back()], total});
    }
    const std::vector<std::byte> bytes = encoder.finish();
    IntervalDecoder decoder(bytes);
    for (const std::size_t token : tokens) ASSERT_EQ(decoder.code(frequencies, total), token) << round;
    ASSERT_TRUE(decoder.at_end());
  }
}

TEST(IntervalCoder, GoesOnFromASavedState) {
  std::mt19937_64 random(3);
  std::vector<Row> rows;
  IntervalEncoder encoder;
  for (int i = 0; i < 400; ++i) {
    rows.push_back(random_row(random));
    encoder.code(rows.back().interval());
  }
  const std::vector<std::byte> bytes = encoder.finish();
  IntervalDecoder first(bytes);
  for (std::size_t i = 0; i < 200; ++i) first.code(rows[i].frequencies, rows[i].total);
  IntervalDecoder second(bytes, first.state());
  for (std::size_t i = 200; i < 400; ++i) ASSERT_EQ(second.code(rows[i].frequencies, rows[i].total), rows[i].token);
  EXPECT_TRUE(second.at_end());
}

TEST(IntervalCoder, NoBytesMakeItStepOutside) {
  std::mt19937_64 random(4);
  for (int round = 0; round < 300; ++round) {
    std::vector<std::byte> bytes(random() % 40);
    for (std::byte& byte : bytes) byte = static_cast<std::byte>(round % 3 == 0 ? 0xff : random());
    IntervalDecoder decoder(bytes);
    for (int i = 0; i < 200; ++i) {
      const Row row = random_row(random);
      ASSERT_LT(decoder.code(row.frequencies, row.total), row.frequencies.size());
    }
    EXPECT_TRUE(decoder.exhausted());
  }
}

}  // namespace
}  // namespace par5
