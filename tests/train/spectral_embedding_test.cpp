#include "train/spectral_embedding.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "tests/train/toy.h"

namespace par5 {
namespace {

constexpr std::size_t kVocab = 64, kUnseen = 63;

// Tokens 4 … 23 stand before tokens 24 … 43 and after tokens 44 … 62: three classes, drawn at random inside.
ShardReader classes_of_tokens(const std::string& folder) {
  ShardWriter::Options options;
  options.shard_tokens = 3000;
  options.token_bytes = toy_token_bytes(kVocab);
  options.tokenizer_sha256 = std::string(64, 'a');
  auto writer = ShardWriter::create(folder, options).value();
  std::uint32_t random = 1;
  for (int document = 0; document < 400; ++document) {
    std::vector<std::uint16_t> tokens = {1};
    for (std::size_t i = 0; i < 60; ++i) {
      random = random * 1664525u + 1013904223u;
      const std::uint32_t begin = i % 3 == 0 ? 4 : i % 3 == 1 ? 24 : 44, count = i % 3 == 2 ? 19 : 20;
      tokens.push_back(static_cast<std::uint16_t>(begin + (random >> 8) % count));
    }
    EXPECT_TRUE(writer.add(tokens, std::string(64, '0'), tokens.size()));
  }
  EXPECT_TRUE(writer.finish());
  return ShardReader::open(folder).value();
}

TEST(SpectralEmbedding, TokensWithTheSameNeighboursAreAlike) {
  TestFolder folder;
  const ShardReader shards = classes_of_tokens(folder.at("shards"));
  const SpectralEmbedding found = spectral_embedding(shards, 8, 0.25, 3);
  ASSERT_EQ(found.embedding.sizes(), (std::vector<std::int64_t>{64, 8}));
  const torch::Tensor rows = found.embedding / found.embedding.norm(2, 1, true);
  const torch::Tensor cosines = rows.mm(rows.t());
  const auto cosine = [&](std::int64_t a, std::int64_t b) { return cosines[a][b].item<double>(); };
  for (const std::int64_t begin : {4, 24, 44})
    for (std::int64_t i = 1; i < 19; ++i) EXPECT_GT(cosine(begin, begin + i), 0.6) << begin << ' ' << i;
  for (const auto& [a, b] : {std::pair{4, 24}, {4, 44}, {24, 44}}) EXPECT_LT(cosine(a, b), 0.5) << a << ' ' << b;
  // Rows of unseen tokens are noise of the same deviation and count for little in the mean square.
  EXPECT_GT(found.embedding[static_cast<std::int64_t>(kUnseen)].norm().item<double>(), 0.1);
  EXPECT_NEAR(found.embedding.narrow(0, 4, 59).square().mean().sqrt().item<double>(), 0.25, 0.03);
  EXPECT_TRUE(found.embedding.isfinite().all().item<bool>());
}

TEST(SpectralEmbedding, TheBiasIsTheLogarithmOfTheTokensShares) {
  TestFolder folder;
  const ShardReader shards = classes_of_tokens(folder.at("shards"));
  std::vector<std::uint16_t> tokens(shards.tokens());
  shards.read(0, tokens);
  const auto count = [&](std::uint16_t token) {
    return 1 + static_cast<double>(std::count(tokens.begin(), tokens.end(), token));
  };
  const torch::Tensor bias = spectral_embedding(shards, 8, 0.25, 3).vocab_bias;
  ASSERT_EQ(bias.size(0), 64);
  EXPECT_NEAR(bias.mean().item<double>(), 0, 1e-5);
  for (const std::uint16_t token : std::vector<std::uint16_t>{1, 4, 30, 62, 63})
    EXPECT_NEAR((bias[token] - bias[5]).item<double>(), std::log(count(token) / count(5)), 1e-5) << token;
}

TEST(SpectralEmbedding, SeedAndTextDecideIt) {
  TestFolder folder;
  const ShardReader shards = classes_of_tokens(folder.at("shards"));
  const auto found = [&](std::uint64_t seed) { return spectral_embedding(shards, 8, 0.25, seed).embedding; };
  EXPECT_TRUE(at::equal(found(3), found(3)));
  EXPECT_FALSE(at::equal(found(3), found(4)));
}

TEST(SpectralEmbedding, MayBeWiderThanTheVocabularyIsLarge) {
  TestFolder folder;
  write_toy_shards(folder.at("shards"), 2000);
  const ShardReader shards = ShardReader::open(folder.at("shards")).value();
  const torch::Tensor found = spectral_embedding(shards, 80, 0.1, 1).embedding;
  EXPECT_TRUE(found.isfinite().all().item<bool>());
  EXPECT_NEAR(found.square().mean().sqrt().item<double>(), 0.1, 0.02);
}

}  // namespace
}  // namespace par5
