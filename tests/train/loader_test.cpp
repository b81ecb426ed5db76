#include "train/loader.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <set>
#include <vector>

#include "tests/train/toy.h"

namespace par5 {
namespace {

class LoaderTest : public testing::Test {
 protected:
  ShardReader shards(std::size_t tokens) {
    const std::string path = folder_.at("shards" + std::to_string(tokens));
    write_toy_shards(path, tokens);
    return ShardReader::open(path).value();
  }
  static std::vector<std::uint16_t> stream(const ShardReader& shards) {
    std::vector<std::uint16_t> tokens(shards.tokens());
    shards.read(0, tokens);
    return tokens;
  }
  static std::vector<std::int64_t> values(const torch::Tensor& tensor) {
    const auto* data = tensor.const_data_ptr<std::int64_t>();
    return {data, data + tensor.numel()};
  }
  TestFolder folder_;
};

TEST_F(LoaderTest, SequentialGoesFrontToBackAndWraps) {
  const ShardReader reader = shards(1000);
  const auto tokens = stream(reader);
  auto loader = Loader::create(reader, Order::sequential, 16, 3).value();
  ASSERT_EQ(loader.windows(), 999 / 16);
  for (int epoch = 0; epoch < 2; ++epoch)
    for (std::int64_t window = 0; window < loader.windows(); ++window) {
      const Batch batch = loader.next(1);
      ASSERT_EQ(batch.inputs.sizes(), (std::vector<std::int64_t>{1, 16}));
      ASSERT_EQ(batch.inputs.scalar_type(), torch::kInt64);
      const auto inputs = values(batch.inputs), targets = values(batch.targets);
      for (std::size_t i = 0; i < 16; ++i) {
        ASSERT_EQ(inputs[i], tokens[static_cast<std::size_t>(window) * 16 + i]);
        ASSERT_EQ(targets[i], tokens[static_cast<std::size_t>(window) * 16 + i + 1]);
      }
    }
  EXPECT_EQ(loader.position().epoch, 1);
}

// The stream's tokens are made unlike each other, so that a window tells where it starts.
TEST_F(LoaderTest, ShuffledEpochsCoverEveryWindowOnceInAnOrderOfTheirOwn) {
  const std::string path = folder_.at("distinct");
  ShardWriter::Options options;
  options.token_bytes = toy_token_bytes(2000);
  auto writer = ShardWriter::create(path, options).value();
  std::vector<std::uint16_t> document(1003);
  document[0] = 1;
  std::iota(document.begin() + 1, document.end(), std::uint16_t{4});
  ASSERT_TRUE(writer.add(document, "", 0));
  ASSERT_TRUE(writer.finish());
  const ShardReader reader = ShardReader::open(path).value();

  auto loader = Loader::create(reader, Order::shuffled_windows, 16, 3).value();
  std::vector<std::vector<std::int64_t>> orders;
  for (int epoch = 0; epoch < 3; ++epoch) {
    std::vector<std::int64_t> starts;
    do {
      const Batch batch = loader.next(1);
      const auto inputs = values(batch.inputs), targets = values(batch.targets);
      for (std::size_t i = 0; i < 15; ++i) ASSERT_EQ(inputs[i + 1], targets[i]);
      starts.push_back(targets[0] - 4);
    } while (loader.position().window < loader.windows());
    orders.push_back(starts);
    std::vector<std::int64_t> sorted = starts;
    std::sort(sorted.begin(), sorted.end());
    EXPECT_NE(sorted, starts);
    EXPECT_LT(sorted.front(), 16);
    EXPECT_GE(sorted.back() + 16 + 16, 1002);
    for (std::size_t i = 1; i < sorted.size(); ++i) ASSERT_EQ(sorted[i], sorted[i - 1] + 16);
  }
  EXPECT_NE(orders[0], orders[1]);
  EXPECT_NE(orders[1], orders[2]);
}

TEST_F(LoaderTest, SeedDecidesAndPositionContinues) {
  const ShardReader reader = shards(1000);
  auto a = Loader::create(reader, Order::shuffled_windows, 16, 3).value();
  auto b = Loader::create(reader, Order::shuffled_windows, 16, 3).value();
  auto other = Loader::create(reader, Order::shuffled_windows, 16, 4).value();
  bool differs = false;
  for (int i = 0; i < 50; ++i) {
    const Batch batch = a.next(3);
    ASSERT_TRUE(torch::equal(batch.inputs, b.next(3).inputs));
    differs = differs || !torch::equal(batch.inputs, other.next(3).inputs);
  }
  EXPECT_TRUE(differs);
  EXPECT_GT(a.position().epoch, 0);
  auto resumed = Loader::create(reader, Order::shuffled_windows, 16, 3).value();
  resumed.seek(a.position());
  for (int i = 0; i < 50; ++i) ASSERT_TRUE(torch::equal(a.next(3).targets, resumed.next(3).targets));
}

// Shorter windows: every target of an epoch once, a batch from many places, and the position continues inside a block.
TEST_F(LoaderTest, PartsOfWindowsAreShuffledByThemselves) {
  const ShardReader reader = shards(40000);
  for (const Order order : {Order::sequential, Order::shuffled_windows}) {
    auto whole = Loader::create(reader, order, 16, 3).value(), parts = Loader::create(reader, order, 16, 3).value();
    ASSERT_GT(whole.windows(), 2 * Loader::kBlock);
    std::vector<std::int64_t> of_whole, of_parts;
    bool in_order = true;
    for (std::int64_t done = 0; done < whole.windows(); done += 4) {
      const std::int64_t count = std::min<std::int64_t>(4, whole.windows() - done);
      const Batch large = whole.next(count), small = parts.next(count, 4);
      ASSERT_EQ(small.inputs.sizes(), (std::vector<std::int64_t>{4 * count, 4}));
      ASSERT_TRUE(small.inputs.narrow(1, 1, 3).equal(small.targets.narrow(1, 0, 3)));
      in_order = in_order && small.inputs.flatten().equal(large.inputs.flatten());
      for (const std::int64_t token : values(large.targets)) of_whole.push_back(token);
      for (const std::int64_t token : values(small.targets)) of_parts.push_back(token);
    }
    EXPECT_EQ(in_order, order == Order::sequential);
    std::sort(of_whole.begin(), of_whole.end());
    std::sort(of_parts.begin(), of_parts.end());
    EXPECT_EQ(of_whole, of_parts);
    EXPECT_TRUE(whole.position() == parts.position());

    (void)parts.next(5, 4);
    auto resumed = Loader::create(reader, order, 16, 3).value();
    resumed.seek(parts.position());
    for (int i = 0; i < 400; ++i) {
      const std::int64_t length = i < 200 ? 4 : 8;
      ASSERT_TRUE(parts.next(3, length).targets.equal(resumed.next(3, length).targets));
    }
  }
}

TEST_F(LoaderTest, OneWindowIsEnoughAndFewerIsAnError) {
  const ShardReader reader = shards(17);
  for (const Order order : {Order::sequential, Order::shuffled_windows}) {
    auto loader = Loader::create(reader, order, 16, 3).value();
    EXPECT_EQ(loader.windows(), 1);
    EXPECT_TRUE(torch::equal(loader.next(2).inputs[0], loader.next(1).inputs[0]));
    const auto none = Loader::create(reader, order, 17, 3);
    ASSERT_FALSE(none);
    EXPECT_EQ(none.error().code, ErrorCode::bad_data);
    EXPECT_NE(none.error().message.find("17 tokens"), std::string::npos) << none.error().message;
    EXPECT_NE(none.error().message.find("18"), std::string::npos) << none.error().message;
  }
}

TEST(SplitMix64, KnownValuesAndBounds) {
  // The reference implementation's first outputs for seed 1234567.
  SplitMix64 random(1234567);
  EXPECT_EQ(random.next(), 6457827717110365317u);
  EXPECT_EQ(random.next(), 3203168211198807973u);
  EXPECT_EQ(random.next(), 9817491932198370423u);
  std::set<std::uint64_t> seen;
  for (int i = 0; i < 1000; ++i) seen.insert(random.below(7));
  EXPECT_EQ(seen.size(), 7u);
  EXPECT_EQ(*seen.rbegin(), 6u);
}

}  // namespace
}  // namespace par5
