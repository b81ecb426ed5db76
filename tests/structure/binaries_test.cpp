// SentencePiece and LibTorch export clashing symbols: they may never meet in one process.
#include <gtest/gtest.h>

#include <cstdio>
#include <filesystem>
#include <string>

namespace {

std::string output_of(const std::string& command) {
  std::string text;
  FILE* pipe = popen((command + " 2>/dev/null").c_str(), "r");
  if (!pipe) return text;
  char buffer[4096];
  while (const std::size_t got = std::fread(buffer, 1, sizeof buffer, pipe)) text.append(buffer, got);
  pclose(pipe);
  return text;
}

// The libraries that the dynamic section names, and what those need in turn.
std::string libraries_of(const std::string& program) {
  const std::string direct = output_of("readelf -d '" + program + "'");
  EXPECT_NE(direct.find("(NEEDED)"), std::string::npos) << "readelf shows no dynamic section of " << program;
  return direct + output_of("ldd '" + program + "'");
}

bool has(const std::string& text, const char* name) { return text.find(name) != std::string::npos; }

TEST(Binaries, TheFrontHasSentencePieceAndNoLibTorch) {
  const std::string libraries = libraries_of(PAR5_PROGRAM);
  EXPECT_TRUE(has(libraries, "libsentencepiece"));
  EXPECT_FALSE(has(libraries, "libtorch"));
  EXPECT_FALSE(has(libraries, "libc10"));
}

TEST(Binaries, TheTorchHalfHasNoSentencePiece) {
  const std::string program = std::string(PAR5_PROGRAM) + "-torch";
  if (!std::filesystem::exists(program)) GTEST_SKIP() << "built without LibTorch";
  const std::string libraries = libraries_of(program);
  EXPECT_TRUE(has(libraries, "libtorch"));
  EXPECT_FALSE(has(libraries, "libsentencepiece"));
}

}  // namespace
