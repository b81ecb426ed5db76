#include "tokenizer/text_source.h"

#include <gtest/gtest.h>
#include <lzma.h>
#include <zstd.h>

#include "tests/tokenizer/support.h"

namespace par5 {
namespace {

using test::must;
using test::Scratch;

std::string xz(const std::string& text) {
  std::string out(text.size() + 1000, '\0');
  std::size_t size = 0;
  if (lzma_easy_buffer_encode(6, LZMA_CHECK_CRC32, nullptr, reinterpret_cast<const std::uint8_t*>(text.data()),
                              text.size(), reinterpret_cast<std::uint8_t*>(out.data()), &size, out.size()) != LZMA_OK)
    throw std::runtime_error("xz");
  return out.substr(0, size);
}

std::string zstd(const std::string& text) {
  std::string out(ZSTD_compressBound(text.size()), '\0');
  return out.substr(0, ZSTD_compress(out.data(), out.size(), text.data(), text.size(), 3));
}

std::vector<std::string> texts(const std::vector<std::string>& paths) {
  TextSource source = must(TextSource::open(paths));
  std::vector<std::string> found;
  TextDocument document;
  while (must(source.next(document))) found.push_back(document.text);
  EXPECT_EQ(source.consumed(), source.total());
  return found;
}

Error first_error(const std::string& path) {
  auto source = TextSource::open({path});
  if (!source) return source.error();
  TextDocument document;
  for (;;) {
    const auto more = source->next(document);
    if (!more) return more.error();
    if (!*more) throw std::runtime_error("no error");
  }
}

using Texts = std::vector<std::string>;

TEST(TextSource, PlainTextIsSeparatedByNulBytes) {
  const Scratch scratch;
  EXPECT_EQ(texts({scratch.write("a.txt", "one\ntwo\n")}), Texts{"one\ntwo\n"});
  EXPECT_EQ(texts({scratch.write("a.txt", std::string("one\0two\0", 8))}), (Texts{"one", "two"}));
  EXPECT_EQ(texts({scratch.write("a.txt", std::string("one\0\0two", 8))}), (Texts{"one", "", "two"}));
  EXPECT_EQ(texts({scratch.write("a.txt", "")}), Texts{});
}

TEST(TextSource, JsonLines) {
  const Scratch scratch;
  EXPECT_EQ(texts({scratch.write(
                "a.jsonl",
                "{\"id\": 1, \"text\": \"one\\n\\u00e9\\ud83d\\ude00\"}\n\n{\"text\":\"\"}\r\n{\"text\":\"end\"}")}),
            (Texts{"one\n\xc3\xa9\xf0\x9f\x98\x80", "", "end"}));
}

TEST(TextSource, CompressedFilesReadAlike) {
  const Scratch scratch;
  std::string lines;
  Texts expected;
  for (int i = 0; i < 20000; ++i) {
    expected.push_back("document " + std::to_string(i) + std::string(i % 50, 'x'));
    lines += "{\"text\": \"" + expected.back() + "\"}\n";
  }
  EXPECT_EQ(texts({scratch.write("a.jsonl", lines)}), expected);
  EXPECT_EQ(texts({scratch.write("a.jsonl.xz", xz(lines))}), expected);
  EXPECT_EQ(texts({scratch.write("a.jsonl.zst", zstd(lines))}), expected);
  const std::string half = lines.substr(0, lines.size() / 2), rest = lines.substr(lines.size() / 2);
  EXPECT_EQ(texts({scratch.write("a.jsonl.xz", xz(half) + xz(rest))}), expected);
  EXPECT_EQ(texts({scratch.write("a.jsonl.zst", zstd(half) + zstd(rest))}), expected);
}

TEST(TextSource, FoldersAreSortedAndOtherFilesLeftOut) {
  const Scratch scratch;
  scratch.write("b.txt", "b");
  scratch.write("a.jsonl", "{\"text\":\"a\"}");
  scratch.write("c.txt.xz", xz("c"));
  scratch.write("README.md", "no");
  EXPECT_EQ(texts({parent_folder(scratch.path("x"))}), (Texts{"a", "b", "c"}));
}

TEST(TextSource, FaultsNameFileAndPlace) {
  const Scratch scratch;
  const auto expect = [&](const std::string& name, const std::string& bytes, ErrorCode code, const std::string& words,
                          std::optional<std::uint64_t> offset) {
    const std::string path = scratch.write(name, bytes);
    const Error error = first_error(path);
    EXPECT_EQ(error.code, code) << name;
    EXPECT_NE(error.message.find(words), std::string::npos) << error.message;
    EXPECT_EQ(error.file, path);
    EXPECT_EQ(error.offset, offset) << error.message;
  };
  expect("a.txt", "good \xff bad", ErrorCode::bad_data, "UTF-8", 5);
  expect("b.txt", std::string("one\0tw\xc3", 7), ErrorCode::bad_data, "UTF-8", 6);
  expect("a.jsonl", "{\"text\":\"a\"}\n{\"text\":\"\xc3\"}\n", ErrorCode::bad_data, "line 2", 22);
  expect("b.jsonl", "{\"text\":\"a\"}\n{\"text\":\"b\"\n", ErrorCode::bad_data, "line 2 is not well-formed JSON", 24);
  expect("c.jsonl", "{\"txt\":\"a\"}\n", ErrorCode::bad_data, "no key \"text\"", 0);
  expect("d.jsonl", "{\"text\":\"a\"}\n[1]\n", ErrorCode::bad_data, "not a JSON object", 13);
  expect("e.jsonl", "{\"text\":7}\n", ErrorCode::bad_data, "not a string", 0);
  std::string text;
  for (int i = 0; i < 3000; ++i) text += "{\"text\": \"" + std::to_string(i * 7919) + "\"}\n";
  const std::string x = xz(text), z = zstd(text);
  expect("a.jsonl.xz", x.substr(0, x.size() / 2), ErrorCode::bad_data, "truncated", x.size() / 2);
  expect("a.jsonl.zst", z.substr(0, z.size() / 2), ErrorCode::bad_data, "truncated", z.size() / 2);
  std::string flipped = x;
  flipped[x.size() / 2] ^= 1;
  EXPECT_EQ(first_error(scratch.write("b.jsonl.xz", flipped)).code, ErrorCode::bad_data);
}

TEST(TextSource, MissingAndUnknownFilesAreFoundAtOnce) {
  const Scratch scratch;
  EXPECT_EQ(first_error(scratch.path("none.txt")).code, ErrorCode::io);
  EXPECT_EQ(first_error(scratch.write("a.pdf", "x")).code, ErrorCode::usage);
  EXPECT_EQ(first_error(parent_folder(scratch.path("x"))).code, ErrorCode::usage);
  EXPECT_EQ(TextSource::open({}).error().code, ErrorCode::usage);
  EXPECT_EQ(TextSource::open({"-", "-"}).error().code, ErrorCode::usage);
}

}  // namespace
}  // namespace par5
