#include "tokenizer/accounting.h"

#include <gtest/gtest.h>

#include "tests/tokenizer/support.h"
#include "tokenizer/sharding.h"

namespace par5 {
namespace {

using test::must;

const Tokenizer& trained() {
  static const Tokenizer tokenizer = must(Tokenizer::from_data(
      must(parse_model(test::train("the cat and the hat sat on the mat, one two three; (I II III) fi fl\n", 290), "a"))
          .tokenizer));
  return tokenizer;
}

struct Expected {
  const char* text;
  std::uint64_t charged;
  std::int64_t edge, whitespace, character;
  std::uint64_t line_breaks;
};

TEST(Accounting, TrickyDocumentsAgreeAndTheirChangesAddUp) {
  const Expected cases[] = {
      {"", 0, 0, 0, 0, 0},
      {"   \n\t ", 0, 6, 0, 0, 0},
      {"the cat", 7, 0, 0, 0, 0},
      {"  the   cat \n", 7, 4, 2, 0, 0},
      {"the\ncat\r\nsat", 11, 0, 1, 0, 2},
      {"the\n\n\ncat", 7, 0, 2, 0, 3},
      {"a\tb", 3, 0, 0, 0, 0},
      {"a\xc2\xa0"
       "b",
       3, 0, 1, 0, 0},  // no-break space
      {"a\xe3\x80\x80"
       "b",
       3, 0, 2, 0, 0},                                      // ideographic space
      {"\xef\xac\x81ne", 4, 0, 0, 1, 0},                    // the ligature fi: 3 bytes become 2
      {"\xe2\x85\xa2", 3, 0, 0, 0, 0},                      // the numeral III: 3 bytes stay 3, but other ones
      {"\xc2\xbd", 5, 0, 0, -3, 0},                         // one half: 1, fraction slash, 2
      {"go \xf0\x9f\x98\x80!", 8, 0, 0, 0, 0},              // an emoji by byte pieces
      {"\xf0\x9f\x98\x80\xf0\x9f\x98\x80", 8, 0, 0, 0, 0},  // two in a row
      {"a\xe2\x96\x81"
       "b",
       3, 0, 2, 0, 0},  // nmt_nfkc makes U+2581 itself a space
      {"\xe2\x96\x81"
       "a",
       1, 3, 0, 0, 0},  // which is dropped at the start
      {"\xe2\x96\x81\xe2\x96\x81"
       "a",
       1, 6, 0, 0, 0},
      {"a \xe2\x96\x81 b", 3, 0, 4, 0, 0},
      {"a\xe2\x80\x8b"
       "b",
       3, 0, 2, 0, 0},  // zero-width space: nmt_nfkc makes it a space
      {"a\x01"
       "b",
       2, 0, 0, 1, 0},  // a control character: dropped
  };
  for (const Expected& expected : cases) {
    SCOPED_TRACE(expected.text);
    const auto account = must(account_document(trained(), expected.text));
    EXPECT_EQ(account.fault, "");
    EXPECT_EQ(account.charged_bytes, expected.charged);
    EXPECT_EQ(account.decoded_bytes, expected.charged);
    EXPECT_EQ(account.normalized_bytes, expected.charged);
    EXPECT_EQ(account.source_bytes, std::string_view(expected.text).size());
    EXPECT_EQ(account.change.edge_bytes, expected.edge);
    EXPECT_EQ(account.change.whitespace_bytes, expected.whitespace);
    EXPECT_EQ(account.change.character_bytes, expected.character);
    EXPECT_EQ(account.change.line_breaks, expected.line_breaks);
    EXPECT_EQ(account.tokens.front(), 1);
  }
}

TEST(Accounting, NulBytesAndEveryCharacterOfTheBasicPlanesAgree) {
  EXPECT_EQ(must(account_document(trained(), std::string_view("a\0b", 3))).fault, "");
  std::string text;
  for (unsigned code = 1; code < 0x20000; ++code) {
    if (code >= 0xd800 && code < 0xe000) continue;
    if (code < 0x80) {
      text += static_cast<char>(code);
    } else if (code < 0x800) {
      text += {static_cast<char>(0xc0 | code >> 6), static_cast<char>(0x80 | (code & 63))};
    } else if (code < 0x10000) {
      text += {static_cast<char>(0xe0 | code >> 12), static_cast<char>(0x80 | (code >> 6 & 63)),
               static_cast<char>(0x80 | (code & 63))};
    } else {
      text += {static_cast<char>(0xf0 | code >> 18), static_cast<char>(0x80 | (code >> 12 & 63)),
               static_cast<char>(0x80 | (code >> 6 & 63)), static_cast<char>(0x80 | (code & 63))};
    }
    if (code % 997 == 0) {
      EXPECT_EQ(must(account_document(trained(), text)).fault, "") << "up to code point " << code;
      text.clear();
    }
  }
}

TEST(Accounting, OtherNormalizerSettingsAgree) {
  for (const bool dummy_prefix : {false, true})
    for (const bool remove_extra : {false, true}) {
      TokenizerData data = trained().data();
      data.add_dummy_prefix = dummy_prefix;
      data.remove_extra_whitespaces = remove_extra;
      const Tokenizer tokenizer = must(Tokenizer::from_data(data));
      for (const char* text : {"the cat", " the cat", "the  cat ", "  ", "\n\nthe\n", "\xe2\x96\x81the", ""}) {
        const auto account = must(account_document(tokenizer, text));
        EXPECT_EQ(account.fault, "") << '"' << text << '"' << dummy_prefix << remove_extra;
      }
    }
}

// Without a normaliser map U+2581 stays in the text; it decodes to a space, and to nothing right after BOS.
TEST(Accounting, TheSpaceMarkInATextWithoutNormalizer) {
  const Tokenizer tokenizer = must(Tokenizer::from_data(test::small_tokenizer({"a", "\xe2\x96\x81",
                                                                               "\xe2\x96\x81"
                                                                               "a"})));
  const auto charged = [&](const char* text) {
    const auto account = must(account_document(tokenizer, text));
    EXPECT_EQ(account.fault, "") << text;
    return account.charged_bytes;
  };
  EXPECT_EQ(charged("a\xe2\x96\x81"
                    "a"),
            3u);
  EXPECT_EQ(charged("\xe2\x96\x81"
                    "a"),
            1u);
  EXPECT_EQ(charged("\xe2\x96\x81\xe2\x96\x81"
                    "a"),
            2u);
  EXPECT_EQ(charged("a \xe2\x96\x81 a"), 5u);
}

TEST(Accounting, AMissingSpacePieceIsNamed) {
  const Tokenizer tokenizer = must(Tokenizer::from_data(test::small_tokenizer({"a", "b"})));
  const auto account = must(account_document(tokenizer, "a b"));
  EXPECT_NE(account.fault.find("no stand-alone"), std::string::npos) << account.fault;
  EXPECT_EQ(account.charged_bytes, 5u);
  EXPECT_EQ(account.normalized_bytes, 3u);
}

TEST(Accounting, UnknownTokensAreNamed) {
  TokenizerData data = test::small_tokenizer({"a", "\xe2\x96\x81"});
  data.byte_fallback = false;
  data.pieces.erase(data.pieces.begin() + 4, data.pieces.begin() + 260);
  const auto account = must(account_document(must(Tokenizer::from_data(data)), "a zz a"));
  EXPECT_NE(account.fault.find("unknown token"), std::string::npos) << account.fault;
}

TEST(Accounting, SpacesInsideAPieceAreChargedOneByte) {
  const Tokenizer tokenizer = must(Tokenizer::from_data([] {
    TokenizerData data = test::small_tokenizer({"\xe2\x96\x81\xe2\x96\x81", "\xe2\x96\x81", "a"});
    data.remove_extra_whitespaces = false;
    return data;
  }()));
  const auto account = must(account_document(tokenizer, "a    a"));
  EXPECT_EQ(account.fault, "");
  EXPECT_EQ(account.charged_bytes, 6u);
}

}  // namespace
}  // namespace par5
