// What must not compile: making training windows, or moving tokens to a learner, without the broker.
#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

#include "core/file.h"

namespace par5 {
namespace {

// Checks the syntax of a function body with the tests' compiler; returns what the compiler said, "" where it is
// content.
std::string complaints(const std::string& body) {
  const auto folder = TemporaryFolder::create();
  const std::string source = join_path(folder->path(), "try.cpp"), log = join_path(folder->path(), "log");
  const std::string text =
      "#include \"eval/broker.h\"\nusing namespace par5;\n"
      "Status attempt(TokenBroker& broker, Learner& learner, std::span<const std::uint16_t> tokens) {\n" +
      body + "\n}\n";
  EXPECT_TRUE(write_file(source, text, Overwrite::no));
  const std::string command =
      std::string(PAR5_CXX_COMPILER) + " -std=c++20 -fsyntax-only -I" + PAR5_SOURCE_DIR + " " + source + " 2>" + log;
  const int status = std::system(command.c_str());
  const std::string said = read_text_file(log).value();
  EXPECT_EQ(status == 0, said.find("error") == std::string::npos) << said;
  return said;
}

TEST(CompileFail, OnlyTheBrokerMakesScoredWindows) {
  // The lawful way, so that the others fail for the reason named.
  EXPECT_EQ(complaints("(void)tokens; return broker.learn(learner, 1, 1, 8, 0.1);"), "");
  EXPECT_NE(complaints("(void)broker; return learner.step(ScoredWindows(tokens, tokens, 1, 8), 0.1);").find("private"),
            std::string::npos);
  EXPECT_NE(complaints("(void)broker; (void)tokens; return learner.step({tokens, tokens, 1, 8}, 0.1);").find("error"),
            std::string::npos);
}

TEST(CompileFail, ScoredWindowsCannotBeKept) {
  EXPECT_NE(
      complaints(
          "(void)broker; (void)learner; (void)tokens;\n"
          "struct Hoard : Learner { std::vector<ScoredWindows> kept;\n"
          "  Status step(const ScoredWindows& windows, double) override { kept.push_back(windows); return {}; } };\n"
          "Hoard* hoard = nullptr; (void)hoard; return {};")
          .find("deleted"),
      std::string::npos);
}

}  // namespace
}  // namespace par5
