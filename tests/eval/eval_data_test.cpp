#include "eval/eval_data.h"

#include <gtest/gtest.h>

#include <cstring>

#include "core/file.h"

namespace par5 {
namespace {

constexpr std::uint16_t kBos = 1;

// A vocabulary of 8: 0 and 1 are boundaries, 2 … 7 have as many bytes as their id; even ones begin with a space.
ShardManifest manifest_for(const std::vector<std::uint16_t>& tokens) {
  ShardManifest manifest;
  manifest.files = {"shard_000000.bin"};
  manifest.file_tokens = {tokens.size()};
  manifest.tokens = tokens.size();
  manifest.tokenizer_sha256 = std::string(64, 'a');
  manifest.bos = kBos;
  for (std::uint16_t id = 0; id < 8; ++id) {
    manifest.token_bytes.bytes.push_back(id < 2 ? 0 : id);
    manifest.token_bytes.leading_space.push_back(id >= 2 && id % 2 == 0);
    manifest.token_bytes.boundary.push_back(id < 2);
  }
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    if (tokens[i] == kBos) manifest.document_list.push_back({std::string(64, 'b'), 0, 0, 0});
    ShardDocument& document = manifest.document_list.back();
    ++document.tokens;
    document.bytes += i > 0 ? manifest.token_bytes.charge(tokens[i - 1], tokens[i]) : 0;
    document.source_bytes = document.bytes + 3;
  }
  for (const ShardDocument& document : manifest.document_list) {
    ++manifest.documents;
    manifest.bytes += document.bytes;
    manifest.source_bytes += document.source_bytes;
  }
  return manifest;
}

class EvalDataTest : public testing::Test {
 protected:
  void write(const std::vector<std::uint16_t>& tokens, const ShardManifest& manifest) {
    std::vector<std::byte> bytes(kShardHeaderBytes + tokens.size() * 2);
    const std::int32_t header[] = {kShardMagic, kShardVersion, static_cast<std::int32_t>(tokens.size())};
    std::memcpy(bytes.data(), header, sizeof header);
    std::memcpy(bytes.data() + kShardHeaderBytes, tokens.data(), tokens.size() * 2);
    ASSERT_TRUE(write_file(join_path(folder_->path(), "shard_000000.bin"), bytes, Overwrite::yes));
    ASSERT_TRUE(write_file(join_path(folder_->path(), kManifestName), manifest_json(manifest), Overwrite::yes));
  }
  void write(const std::vector<std::uint16_t>& tokens) { write(tokens, manifest_for(tokens)); }
  Result<TemporaryFolder> folder_ = TemporaryFolder::create();
};

const std::vector<std::uint16_t> kTokens = {1, 2, 3, 4, 1, 4, 6, 7, 5, 1, 3};

TEST_F(EvalDataTest, CountsTargetsBytesAndDocuments) {
  write(kTokens);
  const auto data = load_eval_data(folder_->path(), 0);
  ASSERT_TRUE(data) << data.error().message;
  EXPECT_EQ(data->targets(), 10);
  // 2, 3, 4 + space; BOS; 4, 6 + space, 7, 5; BOS; 3.
  EXPECT_EQ(charged_bytes(*data, 10), 2 + 3 + 5 + 0 + 4 + 7 + 7 + 5 + 0 + 3);
  EXPECT_EQ(charged_bytes(*data, 3), 10);
  EXPECT_EQ(document_count(*data, 10), 3);
  EXPECT_EQ(document_count(*data, 4), 1);  // the second BOS ends the first document
  EXPECT_EQ(document_count(*data, 5), 2);
  EXPECT_EQ(data->source_bytes, 36 + 9);
}

TEST_F(EvalDataTest, ThePrefixHasNoSourceBytes) {
  write(kTokens);
  const auto data = load_eval_data(folder_->path(), 4);
  ASSERT_TRUE(data);
  EXPECT_EQ(data->tokens, (std::vector<std::uint16_t>{1, 2, 3, 4, 1}));
  EXPECT_EQ(data->available_targets, 10);
  EXPECT_FALSE(data->source_bytes);
  EXPECT_EQ(load_eval_data(folder_->path(), 1000)->targets(), 10);
}

TEST_F(EvalDataTest, RefusesWhatDoesNotFit) {
  write({1});
  EXPECT_EQ(load_eval_data(folder_->path(), 0).error().code, ErrorCode::bad_data);
  write(kTokens);
  const auto data = load_eval_data(folder_->path(), 0);
  EXPECT_TRUE(check_vocabulary(*data, 8, ""));
  EXPECT_TRUE(check_vocabulary(*data, 8, std::string(64, 'a')));
  EXPECT_EQ(check_vocabulary(*data, 9, "").error().code, ErrorCode::bad_data);
  EXPECT_EQ(check_vocabulary(*data, 8, std::string(64, 'c')).error().code, ErrorCode::bad_data);
}

// The tokens were exchanged, but not the counts: the denominator would be another text's.
TEST_F(EvalDataTest, RefusesTokensThatAreNotTheManifests) {
  const ShardManifest manifest = manifest_for(kTokens);
  std::vector<std::uint16_t> others = kTokens;
  others[2] = 7;
  write(others, manifest);
  EXPECT_EQ(load_eval_data(folder_->path(), 0).error().code, ErrorCode::bad_data);
}

}  // namespace
}  // namespace par5
