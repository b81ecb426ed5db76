#include "budgets/foreign/published_archive.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "core/file.h"
#include "core/half.h"
#include "tests/support/encoders.h"
#include "tests/support/torch_writer.h"

namespace par5 {
namespace {

using namespace test;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using Codes = std::vector<int>;

Codes random_codes(std::size_t count, int most, unsigned seed) {
  std::mt19937 generator(seed);
  Codes codes(count);
  for (int& code : codes) code = static_cast<int>(generator() % static_cast<unsigned>(2 * most + 1)) - most;
  return codes;
}

// The published packers, written from their description.
std::string base_bytes(Codes codes, int base, int per_byte) {
  while (codes.size() % static_cast<std::size_t>(per_byte)) codes.push_back(-(base / 2));
  std::string out;
  for (std::size_t i = 0; i < codes.size(); i += static_cast<std::size_t>(per_byte)) {
    int value = 0;
    for (int k = per_byte; k-- > 0;) value = value * base + codes[i + static_cast<std::size_t>(k)] + base / 2;
    out += static_cast<char>(value);
  }
  return out;
}
std::string plane(const std::vector<bool>& bits) {
  std::string out((bits.size() + 7) / 8, '\0');
  for (std::size_t i = 0; i < bits.size(); ++i)
    if (bits[i]) out[i / 8] = static_cast<char>(out[i / 8] | 128 >> i % 8);
  return out;
}
std::string quinary_planes(const Codes& codes) {
  std::vector<bool> zero, negative, large;
  for (const int code : codes) {
    zero.push_back(code == 0);
    if (code == 0) continue;
    negative.push_back(code < 0);
    large.push_back(std::abs(code) == 2);
  }
  return plane(zero) + plane(negative) + plane(large);
}
std::string ternary_planes(const Codes& codes) {
  std::vector<bool> nonzero, positive;
  for (const int code : codes) {
    nonzero.push_back(code != 0);
    if (code != 0) positive.push_back(code > 0);
  }
  return plane(nonzero) + plane(positive);
}
Codes transposed(const Codes& codes, std::size_t rows, std::size_t columns) {
  Codes out;
  for (std::size_t column = 0; column < columns; ++column)
    for (std::size_t row = 0; row < rows; ++row) out.push_back(codes[row * columns + column]);
  return out;
}
std::vector<float> expected(const Codes& codes, const std::vector<float>& scales, std::size_t group) {
  std::vector<float> weights;
  for (std::size_t i = 0; i < codes.size(); ++i) {
    float sum = 0;
    for (std::size_t k = i / group * group; k < (i / group + 1) * group; ++k)
      sum += static_cast<float>(std::abs(codes[k]));
    weights.push_back(static_cast<float>(codes[i]) *
                      (scales[i / group] / std::max(sum / static_cast<float>(group), 1e-8f)));
  }
  return weights;
}
std::string halfs(const std::vector<float>& values) {
  std::string out;
  for (const float value : values) out += little_endian(half_from_float(value), 2);
  return out;
}

PickleWriter& latin1(PickleWriter& pickle, const std::string& bytes) {
  std::string utf8;
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x80)
      utf8 += c;
    else
      (utf8 += static_cast<char>(0xc0 | byte >> 6)) += static_cast<char>(0x80 | (byte & 63));
  }
  return pickle.global("_codecs", "encode").raw("(").string(utf8).string("latin1").raw("tR");
}
void common_fields(PickleWriter& pickle, std::int64_t rows, std::int64_t columns, std::int64_t padded,
                   std::int64_t group) {
  pickle.string("shape")
      .raw("](")
      .integer(rows)
      .integer(columns)
      .raw("e")
      .string("padded_cols")
      .integer(padded)
      .string("group_size")
      .integer(group);
}
void reference(PickleWriter& pickle, int index, int layout, std::int64_t rows, std::int64_t columns) {
  pickle.raw("}(")
      .string("_v2")
      .string("__BULK_REF_V2__")
      .string("idx")
      .integer(index)
      .string("layout")
      .integer(layout);
  if (layout > 0) pickle.string("rows").integer(rows).string("cols").integer(columns).string("meta").raw("}");
  pickle.raw("u");
}

std::string per_stream(const std::string& metadata, const std::vector<std::pair<int, std::string>>& payloads) {
  const std::string stored = xz_bytes(metadata);
  std::string out = "\x03" + little_endian(stored.size(), 4) + stored + little_endian(payloads.size(), 4);
  for (const auto& [method, body] : payloads) out += static_cast<char>(method) + little_endian(body.size(), 4) + body;
  return out;
}

struct Quinary {
  Codes qkv = random_codes(8 * 6, 2, 1), fc = random_codes(4 * 6, 2, 2);
  std::vector<float> scales;  // of qkv, one in 3 weights
  std::string archive;
  explicit Quinary(int method_of_v = 0) {
    for (int i = 0; i < 16; ++i) scales.push_back(round_to_half(0.01f * static_cast<float>(i + 1)));
    const auto rows = [&](std::size_t first, std::size_t count) {
      return Codes(qkv.begin() + static_cast<std::ptrdiff_t>(first * 6),
                   qkv.begin() + static_cast<std::ptrdiff_t>((first + count) * 6));
    };
    PickleWriter pickle;
    pickle.raw("}(")
        .string("blocks.0.attn.c_qkv.weight")
        .raw("}(")
        .string("type")
        .string("quinary")
        .string("packed")
        .string("__QKV_SPLIT__")
        .raw("](");
    reference(pickle, 0, 1, 6, 6);
    reference(pickle, 1, 2, 1, 6);
    reference(pickle, 2, 3, 1, 6);
    pickle.raw("e\x86");
    common_fields(pickle, 8, 6, 6, 3);
    pickle.string("scale").tensor("HalfStorage", "0", 16, 0, {16}, {1}).raw("u");
    pickle.string("blocks.0.mlp.fc.weight").raw("}(").string("type").string("quinary").string("packed");
    reference(pickle, 3, 4, 4, 6);
    common_fields(pickle, 4, 5, 6, 6);  // 5 columns, padded to 6
    pickle.string("scale_anchor")
        .tensor("HalfStorage", "1", 1, 0, {}, {})
        .string("scale_step")
        .tensor("HalfStorage", "2", 1, 0, {}, {});
    pickle.string("scale_delta")
        .tensor("ByteStorage", "3", 4, 0, {4}, {1})
        .string("scale_bits")
        .integer(5)
        .string("scale_n_groups")
        .integer(4)
        .raw("u");
    pickle.string("embed.weight").raw("}(").string("type").string("fp16").string("data");
    reference(pickle, 4, 0, 0, 0);
    pickle.raw("u");
    pickle.string("vocab_bias")
        .raw("}(")
        .string("type")
        .string("fp16")
        .string("data")
        .tensor("HalfStorage", "4", 2, 0, {2}, {1})
        .raw("u");
    pickle.string("odd").raw("}(").string("type").string("fp4").raw("u").raw("u");
    const std::string metadata = torch_file(pickle.finish(), {{"0", halfs(scales)},
                                                              {"1", halfs({-5})},
                                                              {"2", halfs({0.25f})},
                                                              {"3", std::string("\x10\x11\x0f\x14")},
                                                              {"4", halfs({1, -2})}});
    PickleWriter inner;
    inner.tensor("HalfStorage", "0", 4, 0, {2, 2}, {2, 1});
    archive = per_stream(metadata, {{0, xz_bytes(base_bytes(rows(0, 6), 5, 3))},
                                    {0, xz_bytes(base_bytes(transposed(rows(6, 1), 1, 6), 5, 3))},
                                    {method_of_v, xz_bytes(quinary_planes(rows(7, 1)))},
                                    {0, xz_bytes(quinary_planes(transposed(fc, 4, 6)))},
                                    {0, xz_bytes(torch_file(inner.finish(), {{"0", halfs({1, 2, 3, 4})}}))}});
  }
};

TEST(PublishedArchive, QuinaryComesBack) {
  const Quinary quinary;
  const auto archive = import_archive(as_bytes(quinary.archive), "model.ptz");
  ASSERT_TRUE(archive) << to_string(archive.error());
  EXPECT_EQ(archive->format, "quinary, per-stream v2");
  EXPECT_THAT(archive->unread, ElementsAre(HasSubstr("fp4")));
  EXPECT_THAT(archive->dangerous, IsEmpty());
  ASSERT_EQ(archive->tensors.size(), 4u);
  EXPECT_EQ(archive->tensors[0].name, "blocks.0.attn.c_qkv.weight");
  EXPECT_EQ(archive->tensors[0].shape, (Shape{8, 6}));
  EXPECT_EQ(*to_floats(archive->tensors[0].view()), expected(quinary.qkv, quinary.scales, 3));
  std::vector<float> padded = expected(quinary.fc,
                                       {round_to_half(std::exp2(-5.0f)), round_to_half(std::exp2(-4.75f)),
                                        round_to_half(std::exp2(-5.25f)), round_to_half(std::exp2(-4.0f))},
                                       6);
  std::vector<float> fc;
  for (std::size_t i = 0; i < padded.size(); ++i)
    if (i % 6 < 5) fc.push_back(padded[i]);
  EXPECT_EQ(*to_floats(archive->tensors[1].view()), fc);
  EXPECT_EQ(*to_floats(archive->tensors[2].view()), (std::vector<float>{1, 2, 3, 4}));
  EXPECT_EQ(*to_floats(archive->tensors[3].view()), (std::vector<float>{1, -2}));
  // The streams account for every stored byte but the framing.
  std::uint64_t stored = 1 + 4 + 4 + 5 * 5;
  for (const ForeignStream& stream : archive->streams) stored += stream.stored_bytes;
  EXPECT_EQ(stored, quinary.archive.size());
}

TEST(PublishedArchive, PayloadsOfAnotherProgramAreNamed) {
  const Quinary quinary(1);
  const auto archive = import_archive(as_bytes(quinary.archive), "model.ptz");
  ASSERT_TRUE(archive) << to_string(archive.error());
  EXPECT_EQ(archive->tensors.size(), 3u);
  EXPECT_THAT(archive->unread, testing::Contains(HasSubstr("payload 2 is compressed by lrzip")));
}

TEST(PublishedArchive, TernaryComesBack) {
  const Codes codes = random_codes(4 * 6, 1, 3);
  std::vector<float> scales;
  for (int i = 0; i < 8; ++i) scales.push_back(round_to_half(0.02f * static_cast<float>(i + 1)));
  for (const bool planes : {false, true}) {
    PickleWriter pickle;
    pickle.raw("}(")
        .string("w")
        .raw("}(")
        .string("type")
        .string(planes ? "ternary_bitmask" : "ternary")
        .string("packed");
    latin1(pickle, planes ? ternary_planes(codes) : base_bytes(codes, 3, 5));
    common_fields(pickle, 4, 6, 6, 3);
    pickle.string("scale").tensor("HalfStorage", "0", 8, 0, {8}, {1}).raw("uu");
    const std::string file = xz_bytes(torch_file(pickle.finish(), {{"0", halfs(scales)}}));
    const auto archive = import_archive(as_bytes(file), "model.ptz");
    ASSERT_TRUE(archive) << to_string(archive.error());
    EXPECT_THAT(archive->format, HasSubstr("ternary"));
    EXPECT_THAT(archive->unread, IsEmpty());
    ASSERT_EQ(archive->tensors.size(), 1u);
    EXPECT_EQ(*to_floats(archive->tensors[0].view()), expected(codes, scales, 3));
  }
}

TEST(PublishedArchive, OtherTorchFilesAreListedAndNotImported) {
  PickleWriter pickle;
  pickle.raw("}(").string("quantized").raw("}(").string("w").tensor("CharStorage", "0", 4, 0, {2, 2}, {2, 1}).raw("u");
  pickle.string("x").global("os", "system").raw("(").string("touch pwned").raw("tRu");
  const std::string torch = torch_file(pickle.finish(), {{"0", "abcd"}});
  for (const std::string& file : {zlib_bytes(torch), xz_bytes(torch), brotli_bytes(torch), torch}) {
    const auto archive = list_archive(as_bytes(file), "model.ptz");
    ASSERT_TRUE(archive) << to_string(archive.error());
    ASSERT_EQ(archive->streams.size(), 1u);
    EXPECT_EQ(archive->streams[0].name, "quantized.w");
    EXPECT_EQ(archive->streams[0].raw_bytes, 4u);
    EXPECT_THAT(archive->dangerous, ElementsAre("os.system"));
    EXPECT_FALSE(import_archive(as_bytes(file), "model.ptz"));
  }
  EXPECT_FALSE(list_archive(as_bytes(std::string_view("nothing known")), "x"));
  EXPECT_FALSE(list_archive({}, "x"));
}

TEST(PublishedArchive, DamageNeverCrashes) {
  const std::string good = Quinary().archive;
  std::mt19937 generator(9);
  for (int i = 0; i < 600; ++i) {
    std::string changed = good;
    if (i % 3 == 0) changed.resize(generator() % changed.size());
    for (auto edits = generator() % 4; edits > 0 && !changed.empty(); --edits)
      changed[generator() % changed.size()] = static_cast<char>(generator());
    (void)import_archive(as_bytes(changed), "changed.ptz");
  }
}

}  // namespace
}  // namespace par5
