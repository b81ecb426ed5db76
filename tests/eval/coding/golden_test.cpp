// Files that an earlier par5 wrote must decode for ever: golden/tiny.par5 (random weights and a real tokenizer),
// golden/text.p5b and golden/text.p5z. PAR5_REFRESH=1 writes them anew, for a new version of a format only.
#include <gtest/gtest.h>

#include <cstdlib>

#include "core/file.h"
#include "eval/coding/file_coder.h"
#include "eval/coding/source_text.h"
#include "eval/self_test.h"
#include "tests/engine/test_models.h"
#include "tests/eval/coding/test_tokenizer.h"

namespace par5 {
namespace {

using namespace testing_support;

const std::string kFolder = PAR5_SOURCE_DIR "/tests/eval/coding/golden/";
constexpr std::string_view kText =
    "Not every text is long,\nand this one has\r\n\r\n two  line breaks of each kind; caf\xc3\xa9 \xff.\n";

Artifact tiny_artifact() {
  ModelConfig model = small_unet();
  model.layers = 2;
  model.vocab = static_cast<std::int64_t>(demo_tokenizer().vocab());
  Artifact artifact;
  artifact.model = random_model(model, quantizer_of(Grid::quinary, Granularity::group, 24), 3);
  artifact.tokenizer = demo_tokenizer().data();
  artifact.tokenizer_sha256 = demo_tokenizer().sha256();
  artifact.temperature = 4.0;
  artifact.self_test = make_self_test(artifact.model, artifact.temperature, 1).value();
  artifact.extras = {arithmetic_version_entry()};
  return artifact;
}

std::vector<std::uint16_t> text_tokens(const Tokenizer& tokenizer) {
  std::vector<std::uint16_t> tokens = tokenize_source(tokenizer, kText).value().tokens;
  tokens.insert(tokens.begin(), *tokenizer.bos());
  return tokens;
}

ReadBytes reader(std::span<const std::byte>& rest) {
  return [&rest](std::span<std::byte> out) -> Result<std::size_t> {
    const std::size_t count = std::min(out.size(), rest.size());
    std::copy_n(rest.begin(), count, out.begin());
    rest = rest.subspan(count);
    return count;
  };
}

WriteBytes writer(std::string& to) {
  return [&to](std::span<const std::byte> part) -> Status {
    to.append(reinterpret_cast<const char*>(part.data()), part.size());
    return {};
  };
}

void refresh() {
  ASSERT_TRUE(make_folders(kFolder));
  const EncodedArtifact encoded = encode_artifact(tiny_artifact(), {5, 1}).value();
  ASSERT_TRUE(write_file(kFolder + "tiny.par5", encoded.bytes, Overwrite::yes));
  const CodingModel model = load_coding_model(kFolder + "tiny.par5", 1).value();
  const CodingParameters parameters{Arithmetic::fp32, {ModeKind::chunked, false}, 64, 64, 1};
  const CodedText coded = encode_text(model, parameters, text_tokens(demo_tokenizer()), {"", 1, 2}).value();
  ASSERT_TRUE(write_file(kFolder + "text.p5b", write_bitstream(coded.bitstream).value().bytes, Overwrite::yes));
  std::span<const std::byte> rest = as_bytes(kText);
  std::string stored;
  FileCoderOptions options;
  options.threads = 1;
  ASSERT_TRUE(compress_file(model, demo_tokenizer(), options, reader(rest), writer(stored), 0));
  ASSERT_TRUE(write_file(kFolder + "text.p5z", std::string_view(stored), Overwrite::yes));
}

TEST(Golden, OldFilesDecode) {
  if (std::getenv("PAR5_REFRESH")) refresh();
  const CodingModel model = load_coding_model(kFolder + "tiny.par5", 1).value();
  ASSERT_TRUE(model.artifact.tokenizer);
  const Tokenizer tokenizer = Tokenizer::from_data(*model.artifact.tokenizer).value();

  const std::vector<std::byte> bitstream_bytes = read_file(kFolder + "text.p5b").value();
  const auto bitstream = read_bitstream(bitstream_bytes, "text.p5b");
  ASSERT_TRUE(bitstream) << bitstream.error().message;
  const auto decoded = decode_text(model, *bitstream, "text.p5b", {"", 1, 0});
  ASSERT_TRUE(decoded) << decoded.error().message;
  EXPECT_EQ(decoded->tokens, text_tokens(tokenizer));

  const std::vector<std::byte> stored = read_file(kFolder + "text.p5z").value();
  std::span<const std::byte> rest = stored;
  std::string text;
  FileCoderOptions options;
  options.threads = 1;
  const auto summary = decompress_file(model, tokenizer, options, "text.p5z", reader(rest), writer(text), 0);
  ASSERT_TRUE(summary) << summary.error().message;
  EXPECT_EQ(summary->model_blocks, 1u);
  EXPECT_EQ(text, kText);
}

}  // namespace
}  // namespace par5
