// Any file through the compressor and back; damaged files.
#include "eval/coding/file_coder.h"

#include <gtest/gtest.h>

#include "tests/engine/test_models.h"
#include "tests/eval/coding/test_tokenizer.h"
#include "tests/support/nasty_inputs.h"

namespace par5 {
namespace {

using namespace testing_support;

CodingModel demo_model(std::uint64_t seed = 3) {
  ModelConfig model = small_unet();
  model.layers = 2;
  model.vocab = static_cast<std::int64_t>(demo_tokenizer().vocab());
  CodingModel coding;
  coding.artifact.model = random_model(model, quantizer_of(Grid::quinary, Granularity::group, 24), seed);
  // An untrained model's weights, far from overconfident: its text is larger than a plain codec's, but not by much.
  coding.artifact.temperature = 4.0;
  coding.id = artifact_id(as_bytes("model " + std::to_string(seed)));
  return coding;
}

// A reader that hands out odd portions, as a pipe does.
ReadBytes reader_of(const std::string& bytes, std::size_t& position) {
  return [&bytes, &position](std::span<std::byte> out) -> Result<std::size_t> {
    const std::size_t count = std::min({out.size(), bytes.size() - position, std::size_t{1000}});
    std::copy_n(as_bytes(bytes).begin() + static_cast<std::ptrdiff_t>(position), count, out.begin());
    position += count;
    return count;
  };
}

WriteBytes writer_to(std::string& bytes) {
  return [&bytes](std::span<const std::byte> part) -> Status {
    bytes.append(reinterpret_cast<const char*>(part.data()), part.size());
    return {};
  };
}

FileCoderOptions options(const std::string& kernel = "", Arithmetic arithmetic = Arithmetic::int8) {
  FileCoderOptions options;
  options.arithmetic = arithmetic;
  options.kernel = kernel;
  options.threads = 1;
  return options;
}

std::string compressed(const CodingModel& model, const std::string& input, Arithmetic arithmetic = Arithmetic::int8) {
  std::size_t position = 0;
  std::string output;
  const auto summary = compress_file(model, demo_tokenizer(), options("", arithmetic), reader_of(input, position),
                                     writer_to(output), input.size());
  EXPECT_TRUE(summary);
  if (!summary) return {};
  EXPECT_EQ(summary->input_bytes, input.size());
  EXPECT_EQ(summary->output_bytes, output.size());
  return output;
}

Result<std::string> decompressed(const CodingModel& model, const std::string& input, const std::string& kernel = "") {
  std::size_t position = 0;
  std::string output;
  P5_TRY(const FileCoderSummary summary, decompress_file(model, demo_tokenizer(), options(kernel), "x.p5z",
                                                         reader_of(input, position), writer_to(output), 0));
  EXPECT_EQ(summary.output_bytes, output.size());
  return output;
}

TEST(FileCoder, NastyInputsComeBack) {
  const CodingModel model = demo_model();
  for (const auto& [name, input] : nasty_inputs(30000)) {
    const std::string stored = compressed(model, input);
    EXPECT_LE(stored.size(), input.size() + 64) << name << ": never much larger than it was";
    const auto back = decompressed(model, stored);
    ASSERT_TRUE(back) << name << ": " << back.error().message;
    EXPECT_TRUE(*back == input) << name;
  }
}

TEST(FileCoder, TheModelCodesBlocksThatOtherKernelsDecode) {
  const CodingModel model = demo_model();
  // Short enough that plain codecs have nothing to gain from.
  const std::string input =
      "Not every text is long,\nand this one has\r\n\r\n two  line breaks of each kind; caf\xc3\xa9 \xff.\n";
  for (const Arithmetic arithmetic : {Arithmetic::int8, Arithmetic::fp32}) {
    std::size_t position = 0;
    std::string stored;
    const auto summary = compress_file(model, demo_tokenizer(), options("", arithmetic), reader_of(input, position),
                                       writer_to(stored), 0);
    ASSERT_TRUE(summary);
    EXPECT_EQ(summary->model_blocks, 1u) << "payload " << summary->payload_bytes << ", plain " << summary->plain_bytes;
    for (const std::string& kernel : kernel_names()) {
      const auto back = decompressed(model, stored, kernel);
      ASSERT_TRUE(back) << back.error().message;
      EXPECT_EQ(*back, input) << kernel;
    }
  }
}

TEST(FileCoder, SeveralBlocksComeBack) {
  const CodingModel model = demo_model();
  std::string input(kBlockBytes + 12345, 'x');
  for (std::size_t i = 0; i < input.size(); i += 7) input[i] = static_cast<char>('a' + i % 26);
  const auto back = decompressed(model, compressed(model, input));
  ASSERT_TRUE(back) << back.error().message;
  EXPECT_TRUE(*back == input);
}

TEST(FileCoder, DamageIsNamed) {
  const CodingModel model = demo_model();
  const std::string input = "A short text, but long enough to be coded by the model rather than by a codec.\n";
  const std::string stored = compressed(model, input);
  for (std::size_t bit = 0; bit < stored.size() * 8; bit += 3) {
    std::string flipped = stored;
    flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << bit % 8));
    const auto back = decompressed(model, flipped);
    ASSERT_FALSE(back) << "bit " << bit;
    EXPECT_NE(back.error().message.find("x.p5z"), std::string::npos) << back.error().message;
  }
  for (std::size_t size = 0; size < stored.size(); ++size) ASSERT_FALSE(decompressed(model, stored.substr(0, size)));
  EXPECT_FALSE(decompressed(model, stored + "x"));
  const auto foreign = decompressed(demo_model(4), stored);
  ASSERT_FALSE(foreign);
  EXPECT_NE(foreign.error().message.find("another artifact"), std::string::npos) << foreign.error().message;
}

}  // namespace
}  // namespace par5
