#include "tokenizer/shards/shards.h"

#include <gtest/gtest.h>

#include <cstring>

#include "core/hash.h"
#include "tests/tokenizer/support.h"
#include "tokenizer/sharding.h"
#include "tokenizer/shards/shard_writer.h"

namespace par5 {
namespace {

using test::must;
using test::Scratch;

class Shards : public testing::Test {
 protected:
  ~Shards() override { scratch_.remove_folder("shards"); }

  std::string folder() const { return scratch_.path("shards"); }
  ShardSummary shard(const std::string& jsonl, ShardOptions options = {}) {
    TextSource source = must(TextSource::open({scratch_.write("text.jsonl", jsonl)}));
    return must(shard_text(source, tokenizer_, folder(), options));
  }
  std::vector<std::uint16_t> tokens() const {
    const ShardReader reader = must(ShardReader::open(folder()));
    std::vector<std::uint16_t> all(reader.tokens());
    reader.read(0, all);
    return all;
  }
  static std::string documents(int count) {
    std::string lines;
    for (int i = 0; i < count; ++i) lines += "{\"text\": \"document " + std::to_string(i) + " about  cats\\n\"}\n";
    return lines;
  }
  void damage(const std::string& name, std::size_t offset, std::string_view bytes) {
    std::string content = must(read_text_file(join_path(folder(), name)));
    content.replace(offset, bytes.size(), bytes);
    must(write_file(join_path(folder(), name), content, Overwrite::yes));
  }
  Error open_error() const {
    const auto reader = ShardReader::open(folder());
    if (reader) throw std::runtime_error("the shards were accepted");
    return reader.error();
  }

  Scratch scratch_;
  Tokenizer tokenizer_ = must(Tokenizer::from_data(
      must(parse_model(test::train("document 12 about cats\ndocuments on cats and about dogs\n", 290), "a"))
          .tokenizer));
};

TEST_F(Shards, RoundTrip) {
  const ShardSummary summary = shard(documents(3) + "{\"text\":\"\"}\n");
  const ShardReader reader = must(ShardReader::open(folder()));
  EXPECT_EQ(reader.manifest().documents, 4u);
  EXPECT_EQ(summary.empty_documents, 1u);
  EXPECT_EQ(reader.manifest().bytes, 3u * 21);
  EXPECT_EQ(reader.manifest().source_bytes, 3u * 23);
  EXPECT_EQ(summary.change.whitespace_bytes, 3);
  EXPECT_EQ(summary.change.edge_bytes, 3);
  EXPECT_EQ(reader.manifest().tokenizer_sha256, tokenizer_.sha256());
  EXPECT_EQ(reader.manifest().token_bytes, tokenizer_.bytes());
  EXPECT_EQ(reader.manifest().document_list, summary.manifest.document_list);
  EXPECT_EQ(reader.manifest().document_list[1].sha256, sha256_hex(as_bytes("document 1 about  cats\n")));
  EXPECT_EQ(reader.content_sha256(), reader.manifest().content_sha256);
  EXPECT_EQ(must(tokenizer_.decode(tokens())), "document 0 about catsdocument 1 about catsdocument 2 about cats");
}

TEST_F(Shards, SplittingKeepsTheStreamAndReadsCrossFiles) {
  const auto whole = shard(documents(50)).manifest;
  const auto all = tokens();
  scratch_.remove_folder("shards");
  const auto split = shard(documents(50), {.shard_tokens = 7, .shuffle_seed = {}}).manifest;
  EXPECT_EQ(split.files.size(), (all.size() + 6) / 7);
  EXPECT_EQ(split.files[1], "shard_000001.bin");
  EXPECT_EQ(split.content_sha256, whole.content_sha256);
  EXPECT_EQ(tokens(), all);
  const ShardReader reader = must(ShardReader::open(folder()));
  for (std::size_t at = 0; at < all.size(); at += 3) {
    std::vector<std::uint16_t> part(std::min<std::size_t>(20, all.size() - at));
    reader.read(at, part);
    EXPECT_TRUE(std::equal(part.begin(), part.end(), all.begin() + static_cast<std::ptrdiff_t>(at)));
  }
  reader.read(all.size(), {});
}

TEST_F(Shards, ShuffleIsOnePermutationPerSeedForAnyThreadCount) {
  const auto in_order = shard(documents(40)).manifest.document_list;
  std::vector<std::string> hashes;
  for (const auto& [seed, threads] : {std::pair(1, 1), std::pair(1, 4), std::pair(2, 2)}) {
    scratch_.remove_folder("shards");
    const auto manifest =
        shard(documents(40), {.shuffle_seed = seed, .threads = static_cast<std::size_t>(threads)}).manifest;
    EXPECT_EQ(manifest.shuffle_seed, static_cast<std::uint64_t>(seed));
    EXPECT_TRUE(std::is_permutation(in_order.begin(), in_order.end(), manifest.document_list.begin()));
    EXPECT_NE(in_order, manifest.document_list);
    hashes.push_back(must(sha256_hex_of_file(join_path(folder(), kManifestName))));
  }
  EXPECT_EQ(hashes[0], hashes[1]);
  EXPECT_NE(hashes[0], hashes[2]);
}

TEST_F(Shards, HeaderFaultsAreNamed) {
  shard(documents(5));
  const std::string file = join_path(folder(), "shard_000000.bin");
  const std::string good = must(read_text_file(file));
  const auto expect = [&](const char* words, std::uint64_t offset) {
    const Error error = open_error();
    EXPECT_EQ(error.code, ErrorCode::bad_data);
    EXPECT_NE(error.message.find(words), std::string::npos) << error.message;
    EXPECT_EQ(error.file, file);
    EXPECT_EQ(error.offset, offset);
    must(write_file(file, good, Overwrite::yes));
  };
  damage("shard_000000.bin", 0, "x");
  expect("magic", 0);
  damage("shard_000000.bin", 4, "\x02");
  expect("version 2", 4);
  damage("shard_000000.bin", 8, "\x01");
  expect("counts 1 tokens", 8);
  damage("shard_000000.bin", 11, "\xff");
  expect("counts -", 8);
  damage("shard_000000.bin", kShardHeaderBytes + 4, "\xff\xff");
  expect("token id 65535 is beyond the vocabulary", kShardHeaderBytes + 4);
  must(write_file(file, good.substr(0, 1000), Overwrite::yes));
  expect("its header alone takes 1024", 1000);
  must(write_file(file, good.substr(0, good.size() - 2), Overwrite::yes));
  expect("counts", 8);
  EXPECT_TRUE(ShardReader::open(folder()));
  must(remove_file(file));
  EXPECT_EQ(open_error().code, ErrorCode::io);
}

TEST_F(Shards, OtherTokensThanTheManifestSaysAreRefused) {
  shard(documents(5));
  damage("shard_000000.bin", kShardHeaderBytes + 4, std::string_view("\x01\0", 2));
  EXPECT_NE(open_error().message.find("the manifest says 5"), std::string::npos);
}

TEST_F(Shards, ManifestFaultsAreNamed) {
  shard(documents(5));
  const std::string path = join_path(folder(), kManifestName);
  const std::string good = must(read_text_file(path));
  for (const auto& [from, to] :
       {std::pair("\"documents\": 5", "\"documents\": 6"), std::pair("\"tokens\": ", "\"tokens\": 1"),
        std::pair("shard_000000", "../../secret"), std::pair("\"bos\": 1", "\"bos\": 70000"),
        std::pair("\"leading_space\": [", "\"leading_space\": [99999,"), std::pair("\"files\"", "\"filez\""),
        std::pair("{", "[")}) {
    std::string damaged = good;
    damaged.replace(damaged.find(from), std::string_view(from).size(), to);
    must(write_file(path, damaged, Overwrite::yes));
    const Error error = open_error();
    EXPECT_EQ(error.code, ErrorCode::bad_data) << to;
    EXPECT_EQ(error.file, path);
  }
  for (std::size_t length = 0; length < good.size(); length += 37) {
    must(write_file(path, good.substr(0, length), Overwrite::yes));
    EXPECT_EQ(open_error().code, ErrorCode::bad_data);
  }
  must(remove_file(path));
  EXPECT_EQ(open_error().code, ErrorCode::io);
}

TEST_F(Shards, AnExistingFolderIsKeptWithoutForceAndReplacedWholeWithIt) {
  shard(documents(5), {.shard_tokens = 10, .shuffle_seed = {}});
  TextSource source = must(TextSource::open({scratch_.path("text.jsonl")}));
  const auto refused = shard_text(source, tokenizer_, folder(), {});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::usage);
  shard(documents(1), {.shuffle_seed = {}, .overwrite = Overwrite::yes});
  EXPECT_EQ(must(list_folder(folder())), (std::vector<std::string>{kManifestName, "shard_000000.bin"}));
  must(write_file(join_path(folder(), "notes.txt"), "mine", Overwrite::no));
  source = must(TextSource::open({scratch_.path("text.jsonl")}));
  EXPECT_EQ(shard_text(source, tokenizer_, folder(), {.shuffle_seed = {}, .overwrite = Overwrite::yes}).error().code,
            ErrorCode::usage);
}

TEST_F(Shards, BadTextLeavesNothingBehind) {
  for (const std::string& bad : {documents(3) + "{\"text\":\n", std::string(), std::string("{\"text\":\"  \"}\n")}) {
    TextSource source = must(TextSource::open({scratch_.write("text.jsonl", bad)}));
    const auto result = shard_text(source, tokenizer_, folder(), {});
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().code, ErrorCode::bad_data);
    EXPECT_EQ(must(list_folder(parent_folder(folder()))), std::vector<std::string>{"text.jsonl"});
  }
}

TEST_F(Shards, ATokenizerThatMiscountsIsRefused) {
  tokenizer_ = must(Tokenizer::from_data(test::small_tokenizer({"a"})));
  TextSource source = must(TextSource::open({scratch_.write("text.jsonl", documents(1))}));
  const auto result = shard_text(source, tokenizer_, folder(), {});
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, ErrorCode::bad_data);
  EXPECT_NE(result.error().message.find("text.jsonl, line 1"), std::string::npos);
  EXPECT_FALSE(file_exists(folder()));
}

// The published figures of the enwiki validation text.
TEST_F(Shards, EnwikiFacts) {
  const std::string shared = test::shared_folder();
  if (shared.empty()) GTEST_SKIP() << test::kNoShared;
  const Tokenizer tokenizer = must(Tokenizer::load(shared + "/data/tokenizers/enwiki_4096.model"));
  TextSource source = must(TextSource::open({shared + "/data/corpora/enwiki-long/val.jsonl.xz"}));
  const auto manifest = must(shard_text(source, tokenizer, folder(), {})).manifest;
  EXPECT_EQ(manifest.documents, 269u);
  EXPECT_EQ(manifest.tokens, 718848u);
  EXPECT_EQ(manifest.bytes, 2339693u);
  EXPECT_EQ(manifest.source_bytes, 2340856u);
  const auto all = tokens();
  const auto charged = [&](std::size_t targets) {
    std::uint64_t bytes = 0;
    for (std::size_t i = 1; i <= targets; ++i) bytes += manifest.token_bytes.charge(all[i - 1], all[i]);
    return bytes;
  };
  EXPECT_EQ(charged(718847), 2339693u);
  EXPECT_EQ(charged(32768), 108821u);
  EXPECT_EQ(charged(718847 / 512 * 512), 2338036u);
  EXPECT_EQ(718847 / 512 * 512, 718336);
}

}  // namespace
}  // namespace par5
