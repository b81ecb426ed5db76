#include "tokenizer/shards/overlap.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <random>

#include "core/hash.h"
#include "tokenizer/shards/shard_writer.h"
#include "tokenizer/text_overlap.h"

namespace par5 {
namespace {

using Documents = std::vector<std::vector<std::uint16_t>>;

// Documents of random tokens 2 … 299.
Documents random_documents(std::size_t count, std::size_t length, unsigned seed) {
  std::mt19937 random(seed);
  Documents documents(count);
  for (auto& document : documents)
    for (std::size_t i = 0; i < length; ++i) document.push_back(static_cast<std::uint16_t>(2 + random() % 298));
  return documents;
}

class Overlap : public testing::Test {
 protected:
  std::string write(const std::string& name, const Documents& documents,
                    const std::string& tokenizer = std::string(64, 'a')) {
    ShardWriter::Options options;
    options.shard_tokens = 1000;  // documents and passages cross files
    options.tokenizer_sha256 = tokenizer;
    options.token_bytes.bytes.assign(300, 3);
    options.token_bytes.leading_space.assign(300, 0);
    options.token_bytes.boundary.assign(300, 0);
    options.token_bytes.bytes[1] = 0;
    options.token_bytes.boundary[1] = 1;
    const std::string folder = join_path(parent_->path(), name);
    auto writer = ShardWriter::create(folder, options);
    EXPECT_TRUE(writer);
    for (const auto& document : documents) {
      std::vector<std::uint16_t> tokens = {1};
      tokens.insert(tokens.end(), document.begin(), document.end());
      const std::string hash = sha256_hex(std::as_bytes(std::span(document)));
      EXPECT_TRUE(writer->add(tokens, hash, document.size()));
    }
    EXPECT_TRUE(writer->finish());
    folders_.push_back(folder);
    return folder;
  }
  ~Overlap() override {
    for (const std::string& folder : folders_) {
      const auto names = list_folder(folder).value();
      for (const std::string& name : names) (void)remove_file(join_path(folder, name));
      ::rmdir(folder.c_str());
    }
  }

  Result<TemporaryFolder> parent_ = TemporaryFolder::create();
  std::vector<std::string> folders_;
};

TEST_F(Overlap, CleanFoldersShareNothing) {
  const auto overlap = shard_overlap(write("a", random_documents(20, 300, 1)), write("b", random_documents(5, 300, 2)));
  ASSERT_TRUE(overlap) << overlap.error().message;
  EXPECT_EQ(overlap->documents_a, 20u);
  EXPECT_EQ(overlap->documents_b, 5u);
  EXPECT_EQ(overlap->shared_documents, 0u);
  EXPECT_TRUE(overlap->compared_passages);
  EXPECT_EQ(overlap->passages, 5u * (300 / kPassageTokens));
  EXPECT_EQ(overlap->shared_passages, 0u);
  EXPECT_TRUE(overlap->examples.empty());
}

TEST_F(Overlap, CopiesAndNearCopiesAreFound) {
  Documents train = random_documents(20, 300, 3), val = random_documents(6, 300, 4);
  train.insert(train.begin() + 7, val[2]);
  // Five tokens ahead and three more inside: passages stand elsewhere and most are whole.
  std::vector<std::uint16_t> near = val[4];
  near[200] = 5;
  near.insert(near.begin(), {9, 8, 7, 6, 5});
  train.push_back(near);
  // One passage alone is no near duplicate.
  std::copy_n(val[5].begin() + 64, kPassageTokens, train[0].begin() + 11);
  const auto overlap = shard_overlap(write("a", train), write("b", val));
  ASSERT_TRUE(overlap);
  EXPECT_EQ(overlap->shared_documents, 1u);
  EXPECT_EQ(overlap->shared_bytes, 900u);
  EXPECT_EQ(overlap->near_documents, 1u);
  EXPECT_EQ(overlap->shared_passages, 300 / kPassageTokens - 1 + 1);
  EXPECT_EQ(overlap->examples, (std::vector<std::uint64_t>{2, 4}));
}

TEST_F(Overlap, PassagesNeedOneTokenizer) {
  const Documents documents = random_documents(3, 100, 5);
  const auto overlap = shard_overlap(write("a", documents), write("b", documents, std::string(64, 'b')));
  ASSERT_TRUE(overlap);
  EXPECT_EQ(overlap->shared_documents, 3u);  // source texts are compared all the same
  EXPECT_FALSE(overlap->compared_passages);
}

// Manifests alone give what whole shards give.
TEST_F(Overlap, DocumentsByManifest) {
  Documents train = random_documents(9, 50, 7), val = random_documents(4, 50, 8);
  train.push_back(val[1]);
  const auto overlap =
      document_overlap(read_manifest(write("a", train)).value(), read_manifest(write("b", val)).value());
  EXPECT_EQ(overlap.documents_a, 10u);
  EXPECT_EQ(overlap.documents_b, 4u);
  EXPECT_EQ(overlap.shared_documents, 1u);
  EXPECT_EQ(overlap.shared_bytes, 150u);
  EXPECT_EQ(overlap.examples, std::vector<std::uint64_t>{1});
  EXPECT_FALSE(overlap.compared_passages);
}

TEST_F(Overlap, ParagraphsOfTexts) {
  const auto paragraph = [](const std::string& word) {
    std::string text;
    while (text.size() < kParagraphBytes) text += (text.empty() ? "" : " ") + word;
    return text;
  };
  const auto write_text = [&](const std::string& name, const std::vector<std::string>& documents) {
    std::string text;
    for (const std::string& document : documents) (text += document) += '\0';
    const std::string path = join_path(parent_->path(), name);
    EXPECT_TRUE(write_file(path, text, Overwrite::yes));
    return TextSource::open({path}).value();
  };
  const std::string a = paragraph("alpha"), b = paragraph("beta"), c = paragraph("gamma"), d = paragraph("delta");
  TextSource train = write_text("train.txt", {a + "\n\n" + b, "  " + c + "  ", "short\nlines"});
  TextSource val =
      write_text("val.txt", {a + "\n\n" + b,                                            // the same
                             d + "\r\n" + c.substr(0, 5) + " \t" + c.substr(5) + "\n",  // half of it, other white space
                             d + "\n" + d + "\n" + b,                                   // a third
                             "short\nlines\n",                                          // too short to count
                             ""});
  const auto overlap = text_overlap(train, val);
  ASSERT_TRUE(overlap) << overlap.error().message;
  EXPECT_EQ(overlap->documents_a, 3u);
  EXPECT_EQ(overlap->documents_b, 5u);
  EXPECT_EQ(overlap->shared_documents, 1u);
  EXPECT_EQ(overlap->shared_bytes, a.size() + b.size() + 2);
  EXPECT_EQ(overlap->near_documents, 1u);
  EXPECT_EQ(overlap->passages, 5u);
  EXPECT_EQ(overlap->shared_passages, 2u);
  EXPECT_EQ(overlap->examples, (std::vector<std::uint64_t>{0, 1}));
  TextSource missing = write_text("bad.txt", {"\xff"}), other = write_text("b.txt", {"x"});
  EXPECT_EQ(text_overlap(other, missing).error().code, ErrorCode::bad_data);
}

}  // namespace
}  // namespace par5
