// Truncated, flipped, foreign and hostile files: an error with file and offset, never a crash, never a large
// allocation.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "allocations.h"
#include "archive/codec.h"
#include "archive/container.h"
#include "models.h"
#include "tests/support/reseal.h"

namespace par5 {
namespace {

using Bytes = std::vector<std::byte>;

Result<DecodedArtifact> decode(std::span<const std::byte> bytes) {
  return decode_artifact(bytes, "small.par5", 1, ExternalPrograms::refused);
}

constexpr std::size_t kSmallBound = std::size_t{4} << 20;  // for files of a few kilobytes

Artifact tiny_artifact() {
  ModelConfig model;
  model.layers = 2;
  model.width = 16;
  model.heads = 2;
  model.kv_heads = 1;
  model.mlp_width = 32;
  model.vocab = 270;
  model.embedding_width = 4;
  QuantizerConfig quantizer;
  quantizer.group = 8;
  quantizer.scale_bits = 5;
  Artifact artifact = test::random_artifact(model, quantizer);
  artifact.tokenizer = test::small_tokenizer(270);
  artifact.tokenizer_sha256 = std::string(64, '5');
  artifact.self_test = {{{1, 2, 3}, 1000}};
  artifact.extras = {{"note", false, std::string("kept")}};
  return artifact;
}

Bytes encode(const Artifact& artifact, int effort = 5) {
  auto encoded = encode_artifact(artifact, {effort, 1});
  return encoded ? encoded->bytes : Bytes{};
}

void expect_located(const Result<DecodedArtifact>& result, const std::string& what) {
  ASSERT_FALSE(result) << what << " went undetected";
  const Error& error = result.error();
  EXPECT_TRUE(error.code == ErrorCode::bad_data || error.code == ErrorCode::resource_limit)
      << what << ": " << to_string(error);
  EXPECT_EQ(error.file, "small.par5") << what << ": " << error.message;
  EXPECT_TRUE(error.offset) << what << ": " << error.message;
}

TEST(Hostile, EveryTruncation) {
  const Bytes bytes = encode(tiny_artifact());
  ASSERT_GT(bytes.size(), 1000u);
  test::reset_largest_allocation();
  for (std::size_t length = 0; length < bytes.size(); ++length)
    expect_located(decode(std::span(bytes).first(length)), "length " + std::to_string(length));
  EXPECT_LT(test::largest_allocation(), kSmallBound);
}

// Flips every `stride`-th bit.
void expect_flips_are_noticed(std::size_t stride) {
  Bytes bytes = encode(tiny_artifact());
  ASSERT_GE(bytes.size() * 8, 10000u);
  test::reset_largest_allocation();
  for (std::size_t bit = 0; bit < bytes.size() * 8; bit += stride) {
    bytes[bit / 8] ^= static_cast<std::byte>(1 << bit % 8);
    expect_located(decode(bytes), "bit " + std::to_string(bit));
    bytes[bit / 8] ^= static_cast<std::byte>(1 << bit % 8);
  }
  EXPECT_LT(test::largest_allocation(), kSmallBound);
}

TEST(Hostile, BitFlips) { expect_flips_are_noticed(13); }
TEST(Hostile, EveryBitFlipLong) { expect_flips_are_noticed(1); }

// The same with the checksums made good: what decodes must be whole, everything else is refused.
void expect_flips_are_safe(std::size_t stride) {
  const Bytes good = encode(tiny_artifact());
  test::reset_largest_allocation();
  for (std::size_t bit = 0; bit < (good.size() - 8) * 8; bit += stride) {
    Bytes bytes = good;
    bytes[bit / 8] ^= static_cast<std::byte>(1 << bit % 8);
    test::reseal(bytes);
    const auto decoded = decode(bytes);
    if (decoded)
      EXPECT_EQ(decoded->artifact.model.tensors.size(), tensor_specs(decoded->artifact.model.model).size());
    else
      EXPECT_EQ(decoded.error().file, "small.par5") << decoded.error().message;
  }
  EXPECT_LT(test::largest_allocation(), most_values(good.size()));
}

TEST(Hostile, BitFlipsBehindGoodChecksums) { expect_flips_are_safe(13); }
TEST(Hostile, EveryBitFlipBehindGoodChecksumsLong) { expect_flips_are_safe(1); }

TEST(Hostile, ForeignFiles) {
  for (const std::string text : {"", "p", "par5", "PAR5 is text",
                                 "\x7f"
                                 "ELF",
                                 "{\"a\": 1}"}) {
    const auto result = decode(as_bytes(text));
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().code, ErrorCode::bad_data);
    EXPECT_EQ(result.error().file, "small.par5");
  }
  Bytes bytes = encode(tiny_artifact());
  bytes[4] = std::byte{2};
  const auto newer = decode(bytes);
  ASSERT_FALSE(newer);
  EXPECT_THAT(newer.error().message, ::testing::HasSubstr("format version 2"));
}

TEST(Hostile, UnknownKeys) {
  Artifact artifact = tiny_artifact();
  artifact.extras = {{"flavour", false, std::string("vanilla")}};
  auto kept = decode(encode(artifact));
  ASSERT_TRUE(kept);
  EXPECT_EQ(kept->artifact.extras, artifact.extras);

  // The encoder decodes what it made, so a required unknown key is put in by hand.
  Bytes bytes = encode(artifact);
  const std::string name = "flavour";
  const auto at = std::search(bytes.begin(), bytes.end(), reinterpret_cast<const std::byte*>(name.data()),
                              reinterpret_cast<const std::byte*>(name.data() + name.size()));
  ASSERT_NE(at, bytes.end());
  *(at - 2) |= std::byte{1};
  test::reseal(bytes);
  const auto refused = decode(bytes);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().key, "flavour");
  EXPECT_THAT(refused.error().message, ::testing::HasSubstr("needs 'flavour'"));
}

// A head alone that claims a model of many gigabytes, and streams that hold more than they should.
TEST(Hostile, Bombs) {
  Metadata metadata;
  metadata.model = tiny_artifact().model.model;
  metadata.quantizer = tiny_artifact().model.quantizer;
  metadata.model.layers = 1024;
  metadata.model.width = 65536;
  metadata.model.mlp_width = 1048576;
  metadata.model.vocab = 65536;
  ByteWriter head;
  write_metadata(head, metadata);
  ByteWriter file;
  file.raw(kMagic);
  file.fixed(kFormatVersion, 1);
  file.counted(head.bytes());
  file.fixed(short_checksum(file.bytes()), 4);
  file.fixed(xxh3_64(file.bytes()), 8);
  test::reset_largest_allocation();
  const auto result = decode(file.bytes());
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, ErrorCode::resource_limit);
  EXPECT_LT(test::largest_allocation(), kSmallBound);

  const Bytes zeros(10 << 20, std::byte{0});
  for (const Codec codec : {Codec::lzma, Codec::lzma2, Codec::zstd, Codec::brotli}) {
    const auto stored = compress({codec, 0}, zeros);
    ASSERT_TRUE(stored);
    Bytes small(1000), large(zeros.size() + 1);
    EXPECT_EQ(decompress(codec, *stored, small).error().code, ErrorCode::bad_data) << codec_name(codec);
    EXPECT_EQ(decompress(codec, *stored, large).error().code, ErrorCode::bad_data) << codec_name(codec);
    EXPECT_EQ(decompress(codec, {}, small).error().code, ErrorCode::bad_data) << codec_name(codec);
  }
}

}  // namespace
}  // namespace par5
