#include "tokenizer/training.h"

#include <gtest/gtest.h>

#include "tests/tokenizer/support.h"

namespace par5 {
namespace {

using test::must;

std::vector<std::string> learnt_pieces(const std::string& model) {
  std::vector<std::string> pieces;
  const TokenizerData data = must(parse_model(model, "trained")).tokenizer;
  for (std::size_t id = 260; id < data.pieces.size(); ++id) pieces.push_back(data.pieces[id].piece);
  return pieces;
}

Error training_error(const std::string& text, std::int64_t vocab) {
  const test::Scratch scratch;
  TextSource source = must(TextSource::open({scratch.write("text.txt", text)}));
  const auto trained = train_tokenizer(source, vocab);
  if (trained) throw std::runtime_error("training succeeded");
  return trained.error();
}

TEST(Training, WholeVocabularyOfATinyText) {
  const std::string model = test::train("abra cadabra abra\nabracadabra\n", 271);
  const TokenizerData data = must(parse_model(model, "trained")).tokenizer;
  EXPECT_EQ(data.pieces[0], (TokenizerPiece{"<pad>", 0, 3}));
  EXPECT_EQ(data.pieces[1], (TokenizerPiece{"<s>", 0, 3}));
  EXPECT_EQ(data.pieces[2], (TokenizerPiece{"</s>", 0, 3}));
  EXPECT_EQ(data.pieces[3], (TokenizerPiece{"<unk>", 0, 2}));
  EXPECT_EQ(data.pieces[4], (TokenizerPiece{"<0x00>", 0, 6}));
  EXPECT_EQ(data.pieces[259], (TokenizerPiece{"<0xFF>", 0, 6}));
  EXPECT_FALSE(data.add_dummy_prefix);
  EXPECT_TRUE(data.remove_extra_whitespaces);
  EXPECT_TRUE(data.byte_fallback);
  EXPECT_EQ(learnt_pieces(model),
            (std::vector<std::string>{"ab", "ra", "abra", "ad", "cad", "a", "b", "r", "c", "d", "\xe2\x96\x81"}));
}

TEST(Training, DigitsStayAloneAndTheModelRepeats) {
  std::string text;
  for (int i = 0; i < 200; ++i) text += "in 2024 and 2025 there were " + std::to_string(i * 77) + " of them\n";
  const std::string model = test::train(text, 300);
  EXPECT_EQ(test::train(text, 300), model);
  for (const std::string& piece : learnt_pieces(model))
    EXPECT_TRUE(piece.size() == 1 || piece.find_first_of("0123456789") == std::string::npos) << piece;
}

TEST(Training, LongLinesAreLearntFromAndReservedOnesCounted) {
  std::string text;
  while (text.size() < 10000) text += "longword ";
  const test::Scratch scratch;
  TextSource source = must(TextSource::open({scratch.write("text.txt", text + "\n\n  \nabc \xe2\x96\x85\n")}));
  const auto trained = must(train_tokenizer(source, 272));
  EXPECT_EQ(trained.lines, 1u);
  EXPECT_EQ(trained.reserved_lines, 1u);
  EXPECT_EQ(trained.documents, 1u);
  EXPECT_EQ(learnt_pieces(trained.model).front(), "gw");
}

TEST(Training, WhatCannotBeTrainedIsSaid) {
  EXPECT_EQ(training_error("some text", 260).code, ErrorCode::usage);
  EXPECT_EQ(training_error("some text", 65537).code, ErrorCode::usage);
  const Error too_large = training_error("some text", 4096);
  EXPECT_EQ(too_large.code, ErrorCode::usage);
  EXPECT_NE(too_large.message.find("too large for this text: it gives at most 2"), std::string::npos)
      << too_large.message;
  const Error too_small = training_error("the quick brown fox jumps over the lazy dog", 262);
  EXPECT_EQ(too_small.code, ErrorCode::usage);
  EXPECT_NE(too_small.message.find("needs at least 287"), std::string::npos) << too_small.message;
  for (const char* empty : {"", " \n \n", "\n"}) {
    const Error error = training_error(empty, 300);
    EXPECT_EQ(error.code, ErrorCode::bad_data);
    EXPECT_NE(error.message.find("empty"), std::string::npos);
  }
  // Text that normalises to nothing, and a single letter: an error, never an abort.
  EXPECT_NE(exit_status(training_error("\x01\x02", 300).code), 0);
  EXPECT_NE(exit_status(training_error("a", 300).code), 0);
}

}  // namespace
}  // namespace par5
