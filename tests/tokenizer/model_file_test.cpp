#include "tokenizer/model_file.h"

#include <gtest/gtest.h>

#include <random>

#include "core/hash.h"
#include "core/text.h"
#include "tests/tokenizer/support.h"
#include "tokenizer/normalizer_map.h"

namespace par5 {
namespace {

using test::must;

TEST(ModelFile, SurvivesConversionToDataAndBack) {
  const TokenizerData data = must(parse_model(test::train("the cat and the hat sat on the mat\n", 275), "a")).tokenizer;
  EXPECT_EQ(data.normalizer, "nmt_nfkc");
  EXPECT_TRUE(data.normalizer_map.empty());
  EXPECT_EQ(data.normalizer_sha256, must(builtin_map("nmt_nfkc"))->sha256);
  const std::string rebuilt = must(serialize_model(data));
  EXPECT_EQ(must(parse_model(rebuilt, "b")).tokenizer, data);
}

TEST(ModelFile, IdentityHashFollowsWhatEncodingFollowsFrom) {
  const TokenizerData data = test::small_tokenizer({"a", "b", "\xe2\x96\x81"});
  const std::string hash = tokenizer_sha256(data);
  TokenizerData other = data;
  other.unknown_surface = "?";
  other.normalizer = "another name";
  EXPECT_EQ(tokenizer_sha256(other), hash);
  for (int change = 0; change < 6; ++change) {
    other = data;
    if (change == 0) other.pieces.back().piece = "c";
    if (change == 1) other.pieces.back().score += 1;
    if (change == 2) other.pieces.back().type = 4;
    if (change == 3) other.add_dummy_prefix = true;
    if (change == 4) other.normalizer_sha256 = "00";
    if (change == 5) other.model_type = "unigram";
    EXPECT_NE(tokenizer_sha256(other), hash) << change;
  }
}

TEST(ModelFile, RefusesTokenizersThatCannotWork) {
  const auto message = [](const TokenizerData& data) {
    const Status status = check_tokenizer(data, "file");
    return status ? std::string("accepted") : status.error().message;
  };
  const TokenizerData good = test::small_tokenizer({"a"});
  EXPECT_EQ(message(good), "accepted");
  TokenizerData bad = good;
  bad.pieces.push_back({"a", 0, 1});
  EXPECT_NE(message(bad).find("occurs twice"), std::string::npos);
  bad = good;
  bad.pieces.back().piece = "\xff";
  EXPECT_NE(message(bad).find("UTF-8"), std::string::npos);
  bad = good;
  bad.pieces.back().score = std::numeric_limits<float>::quiet_NaN();
  EXPECT_NE(message(bad).find("finite"), std::string::npos);
  bad = good;
  bad.pieces.erase(bad.pieces.begin() + 10);
  EXPECT_NE(message(bad).find("needs all 256"), std::string::npos);
  bad = good;
  bad.pieces.erase(bad.pieces.begin() + 3);
  EXPECT_NE(message(bad).find("unknown pieces"), std::string::npos);
  bad = good;
  for (std::size_t i = 0; i < 65; ++i) bad.pieces.push_back({std::string(i + 2, 'a'), 0, 4});
  EXPECT_NE(message(bad).find("prefixes of one another"), std::string::npos);
  bad = good;
  bad.pieces.resize(65537, {"x", 0, 1});
  EXPECT_NE(message(bad).find("65537 pieces"), std::string::npos);
}

// Whatever the bytes, a model is refused with bad_data or it works: reading, loading and encoding never crash.
void try_model(const std::string& bytes) {
  const auto model = parse_model(bytes, "hostile.model");
  if (!model) {
    EXPECT_EQ(model.error().code, ErrorCode::bad_data);
    EXPECT_EQ(model.error().file, "hostile.model");
    return;
  }
  const auto tokenizer = Tokenizer::from_data(model->tokenizer);
  if (!tokenizer) return;
  const auto ids =
      tokenizer->encode("A hostile text\n with \xef\xac\x81 ligatures, \xe2\x96\x81 and \xf0\x9f\x98\x80.");
  ASSERT_TRUE(ids);
  EXPECT_TRUE(tokenizer->decode(*ids));
}

TEST(ModelFile, TruncatedModelsAreRefusedOrWork) {
  const std::string model = test::train("the cat and the hat sat on the mat\n", 275);
  std::mt19937 random(1);
  for (std::size_t length = 0; length < 400; ++length) try_model(model.substr(0, length));
  for (int i = 0; i < 60; ++i) try_model(model.substr(0, random() % model.size()));
}

TEST(ModelFile, FlippedBitsNeverCrash) {
  const std::string model = test::train("the cat and the hat sat on the mat\n", 275);
  std::mt19937 random(2);
  for (int i = 0; i < 300; ++i) {
    std::string damaged = model;
    // The pieces fill the first bytes and the normaliser's map nearly all the rest: both get their share.
    const std::size_t reach = i % 2 ? damaged.size() : 6000;
    for (int flips = 1 + i % 3; flips > 0; --flips) damaged[random() % reach] ^= static_cast<char>(1 << random() % 8);
    try_model(damaged);
  }
}

TEST(ModelFile, ForeignMapsAreWalkedFirst) {
  const std::string& map = must(builtin_map("nmt_nfkc"))->map;
  EXPECT_TRUE(check_normalizer_map(map, {}));
  EXPECT_FALSE(check_normalizer_map({}, {}));
  EXPECT_FALSE(check_normalizer_map(map.substr(0, 1000), {}));
  EXPECT_FALSE(check_normalizer_map(map.substr(0, map.size() - 1), {}));
  // 256 units: the root's children stand at their labels, and "a" leads back to itself.
  std::string circle(4 + 1024, '\0');
  circle[1] = 4;
  for (std::size_t unit = 0; unit < 256; ++unit) circle[4 + 4 * unit] = static_cast<char>(~unit);
  circle[4] = 1;
  circle[4 + 4 * 'a'] = 'a';
  circle[4 + 4 * 'a' + 1] = static_cast<char>(('a' << 10 >> 8) & 0xff);
  circle[4 + 4 * 'a' + 2] = static_cast<char>('a' << 10 >> 16);
  circle += std::string("x", 2);
  ASSERT_FALSE(check_normalizer_map(circle, {}));
  EXPECT_NE(check_normalizer_map(circle, {}).error().message.find("circle"), std::string::npos);
}

TEST(ModelFile, AnotherVersionOfABuiltInNormaliserIsNamed) {
  TokenizerData data = test::small_tokenizer({"a"});
  data.normalizer = "nmt_nfkc";
  data.normalizer_sha256 = std::string(64, '0');
  const auto tokenizer = Tokenizer::from_data(data);
  ASSERT_FALSE(tokenizer);
  EXPECT_EQ(tokenizer.error().code, ErrorCode::bad_data);
  EXPECT_NE(tokenizer.error().message.find("another version"), std::string::npos);
}

// A map that a built-in one becomes by a few rules is stored as those rules and comes back to the byte.
TEST(NormalizerMap, AsChangesToABuiltInOne) {
  const std::string name = "nfkc";
  const std::string text = std::string("\0", 1) + "\xc3\xa6" + std::string("\0", 1) + "ae" + std::string("\0", 1);
  const std::vector<std::uint8_t> changes(text.begin(), text.end());
  const auto map = changed_map(name, changes);
  ASSERT_TRUE(map) << to_string(map.error());
  EXPECT_NE(*map, builtin_map(name).value()->map);
  EXPECT_EQ(normalizer_changes(name, *map).value(), changes);
  TokenizerData tokenizer;
  tokenizer.normalizer_map.assign(map->begin(), map->end());
  tokenizer.normalizer_sha256 = sha256_hex(as_bytes(*map));
  ASSERT_TRUE(compact_normalizer(tokenizer));
  EXPECT_LT(tokenizer.normalizer_map.size(), 60000u);
  EXPECT_EQ(changed_map(tokenizer.normalizer, tokenizer.normalizer_map).value(), *map);
  for (const std::string& bad : {std::string("a"), std::string("zz\0\0", 4), std::string("\0a\0", 3)})
    EXPECT_FALSE(changed_map(name, std::vector<std::uint8_t>(bad.begin(), bad.end())));
}

}  // namespace
}  // namespace par5
