// Any bytes through tokens and changes and back.
#include "eval/coding/source_text.h"

#include <gtest/gtest.h>

#include <random>

#include "tests/eval/coding/test_tokenizer.h"
#include "tests/support/nasty_inputs.h"

namespace par5 {
namespace {

using namespace testing_support;

std::string applied(const SourceText& source) {
  std::string result;
  std::size_t position = 0;
  for (const SourceEdit& edit : source.edits) {
    EXPECT_GE(edit.position, position);
    result += source.text.substr(position, edit.position - position) + edit.inserted;
    position = edit.position + edit.erased;
  }
  return result + source.text.substr(position);
}

void check(const std::string& name, const std::string& input) {
  const Tokenizer& tokenizer = demo_tokenizer();
  const auto source = tokenize_source(tokenizer, input);
  ASSERT_TRUE(source) << name << ": " << source.error().message;
  EXPECT_EQ(token_text(tokenizer, source->tokens), source->text) << name;
  EXPECT_EQ(applied(*source), input) << name;
  const std::vector<std::byte> changes = encode_changes(source->text, source->edits);
  EXPECT_EQ(changes.empty(), source->edits.empty()) << name;
  const auto restored = restore_source(source->text, changes, input.size());
  ASSERT_TRUE(restored) << name << ": " << restored.error().message;
  EXPECT_EQ(*restored, input) << name;
}

TEST(SourceText, ComesBackWhateverItIs) {
  for (const auto& [name, input] : nasty_inputs(20000)) check(name, input);
}

TEST(SourceText, ComesBackFromRandomMixtures) {
  std::mt19937_64 random(1);
  const std::vector<std::string> parts = {" ",
                                          "  ",
                                          "\n",
                                          "\r\n",
                                          "\t",
                                          "word",
                                          "The",
                                          ".",
                                          "\xe2\x96\x81",
                                          "\xef\xac\x81",
                                          "é",
                                          "e\xcc\x81",
                                          "\xff",
                                          std::string(1, '\0'),
                                          "\xc2\xa0",
                                          "日本",
                                          "\xf0\x9f\x98\x80",
                                          "7",
                                          "\xe2\x80\x8b"};
  for (int round = 0; round < 300; ++round) {
    std::string input;
    for (std::uint64_t i = random() % 60; i > 0; --i) input += parts[random() % parts.size()];
    check("mixture " + std::to_string(round), input);
    if (HasFatalFailure()) return;
  }
}

TEST(SourceText, WrappedTextCostsLittle) {
  std::string text;
  std::mt19937_64 random(2);
  std::size_t column = 0;
  for (int i = 0; i < 6000; ++i) {
    const std::size_t word = 2 + random() % 8;
    if (column + word > 72) {
      text += '\n';
      column = 0;
    } else if (column > 0) {
      text += ' ';
    }
    text += std::string(word, static_cast<char>('a' + random() % 26));
    column += word + 1;
  }
  const SourceText source = tokenize_source(demo_tokenizer(), text).value();
  const auto lines = static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n'));
  EXPECT_EQ(source.edits.size(), lines);
  EXPECT_LT(encode_changes(source.text, source.edits).size() * 8, lines * 3) << "bits a line break";
}

TEST(SourceText, HostileChangesAreErrorsOrOtherText) {
  const std::string input = "  One line\nand  another.\r\n\r\nThe end\xff\n";
  const SourceText source = tokenize_source(demo_tokenizer(), input).value();
  const std::vector<std::byte> changes = encode_changes(source.text, source.edits);
  for (std::size_t bit = 0; bit < changes.size() * 8; ++bit) {
    std::vector<std::byte> flipped = changes;
    flipped[bit / 8] ^= static_cast<std::byte>(1 << bit % 8);
    const auto restored = restore_source(source.text, flipped, input.size());
    EXPECT_TRUE(!restored || restored->size() <= input.size());
  }
  for (std::size_t cut = 0; cut < changes.size(); ++cut) {
    const auto restored = restore_source(source.text, std::span(changes).first(cut), input.size());
    EXPECT_TRUE(!restored || *restored != input) << cut;
  }
  std::mt19937_64 random(3);
  for (int round = 0; round < 500; ++round) {
    std::vector<std::byte> noise(1 + random() % 60);
    for (std::byte& byte : noise) byte = static_cast<std::byte>(random());
    const auto restored = restore_source(source.text, noise, 200);
    EXPECT_TRUE(!restored || restored->size() <= 200);
  }
}

}  // namespace
}  // namespace par5
