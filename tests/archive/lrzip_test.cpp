// lrzip as a codec: only when asked for by name, never believed without decoding, never in the way where it is missing.
// Programs of the same name that lie, hang or crash stand in for it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>

#include "archive/codec.h"
#include "archive/limited_program.h"
#include "models.h"
#include "reference.h"
#include "tests/support/reseal.h"

namespace par5 {
namespace {

using ::testing::HasSubstr;

// $PATH while the object lives.
class SearchPath {
 public:
  explicit SearchPath(const std::string& folders) : before_(std::getenv("PATH") ? std::getenv("PATH") : "") {
    ::setenv("PATH", folders.c_str(), 1);
  }
  ~SearchPath() { ::setenv("PATH", before_.c_str(), 1); }
  SearchPath(const SearchPath&) = delete;
  SearchPath& operator=(const SearchPath&) = delete;

 private:
  std::string before_;
};

// A shell script called lrzip in a folder of its own.
class FakeLrzip {
 public:
  explicit FakeLrzip(const std::string& script) : folder_(TemporaryFolder::create().value()), path_(folder_.path()) {
    const std::string file = join_path(folder_.path(), "lrzip");
    EXPECT_TRUE(write_file(file, "#!/bin/sh\n" + script + "\n", Overwrite::no));
    ::chmod(file.c_str(), 0700);
  }

 private:
  TemporaryFolder folder_;
  SearchPath path_;
};

Artifact artifact() {
  ModelConfig model = test::small_model();
  model.layers = 1;
  QuantizerConfig quantizer = test::small_quantizer();
  quantizer.scale_bits = 5;
  return test::random_artifact(model, quantizer);
}

EncodeOptions with(std::vector<Codec> codecs, int effort) {
  EncodeOptions options{.effort = effort};
  options.codecs = std::move(codecs);
  return options;
}

std::vector<std::byte> some_bytes() {
  std::vector<std::byte> bytes(5000);
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(i * i % 251 % 7);
  return bytes;
}

#define SKIP_WITHOUT_LRZIP() \
  if (find_program("lrzip").empty()) GTEST_SKIP() << "lrzip is not installed: its streams are not tested"

TEST(Lrzip, RoundTripOfAnArtifact) {
  SKIP_WITHOUT_LRZIP();
  const Artifact packed = artifact();
  const auto encoded = encode_artifact(packed, with({Codec::lrzip}, 1));
  ASSERT_TRUE(encoded) << to_string(encoded.error());
  const auto decoded = decode_artifact(encoded->bytes, "test.par5");
  ASSERT_TRUE(decoded) << to_string(decoded.error());
  EXPECT_TRUE(same_artifact(packed, decoded->artifact));
  const bool used =
      std::any_of(decoded->report.tensors.begin(), decoded->report.tensors.end(), [](const TensorReport& t) {
        return std::any_of(t.streams.begin(), t.streams.end(),
                           [](const StreamReport& s) { return s.codec == "lrzip"; });
      });
  EXPECT_TRUE(used);
  EXPECT_THAT(decoded->report.codec_versions, HasSubstr(" lrzip " + codec_detail::lrzip_version()));
  EXPECT_NE(codec_detail::lrzip_version(), "unknown");

  const auto refused = decode_artifact(encoded->bytes, "test.par5", 1, ExternalPrograms::refused);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::bad_data);

  const TemporaryFolder folder = TemporaryFolder::create().value();
  ASSERT_TRUE(write_file(join_path(folder.path(), "model.par5"), encoded->bytes, Overwrite::no));
  EXPECT_THAT(test::reference_output(join_path(folder.path(), "model.par5")), HasSubstr("lrzip"));

  const SearchPath nowhere("");
  const auto missing = decode_artifact(encoded->bytes, "test.par5");
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, ErrorCode::missing_tool);
  EXPECT_THAT(missing.error().message, AllOf(HasSubstr("'test.par5'"), HasSubstr("lrzip"), HasSubstr("install")));
}

TEST(Lrzip, DamagedStreamsAreNoticed) {
  SKIP_WITHOUT_LRZIP();
  const auto raw = some_bytes();
  const auto stored = compress({Codec::lrzip}, raw);
  ASSERT_TRUE(stored) << to_string(stored.error());
  EXPECT_LT(stored->size(), raw.size() / 2);
  EXPECT_EQ(compress({Codec::lrzip}, raw).value(), *stored);
  std::vector<std::byte> out(raw.size()), larger(raw.size() + 1);
  ASSERT_TRUE(decompress(Codec::lrzip, *stored, out));
  EXPECT_EQ(out, raw);
  EXPECT_EQ(decompress(Codec::lrzip, *stored, larger).error().code, ErrorCode::bad_data);
  EXPECT_EQ(decompress(Codec::lrzip, {}, out).error().code, ErrorCode::bad_data);
  for (const std::size_t length : {std::size_t{1}, stored->size() / 2, stored->size() - 1})
    EXPECT_EQ(decompress(Codec::lrzip, std::span(*stored).first(length), out).error().code, ErrorCode::bad_data);
  for (std::size_t bit = 3; bit < stored->size() * 8; bit += stored->size()) {
    std::vector<std::byte> damaged = *stored;
    damaged[bit / 8] ^= static_cast<std::byte>(1 << bit % 8);
    const Status status = decompress(Codec::lrzip, damaged, out);  // some bits mean nothing
    EXPECT_TRUE(status ? out == raw : status.error().code == ErrorCode::bad_data) << "bit " << bit;
  }
}

TEST(Lrzip, DefaultBytesDoNotDependOnIt) {
  const Artifact packed = artifact();
  for (const int effort : {5, 9}) {
    const auto usual = encode_artifact(packed, {.effort = effort});
    const SearchPath nowhere("");
    const auto without = encode_artifact(packed, {.effort = effort});
    ASSERT_TRUE(usual && without);
    EXPECT_EQ(usual->bytes, without->bytes);
    const auto asked = encode_artifact(packed, with({Codec::own, Codec::lrzip}, effort));
    ASSERT_FALSE(asked);
    EXPECT_EQ(asked.error().code, ErrorCode::missing_tool);
  }
}

TEST(Lrzip, WhatItStoresIsNotBelievedUntilItDecodes) {
  const std::string header =
      R"(printf 'LRZI\000\006\210\023\000\000\000\000\000\000\000\000\000\000\000\000\000\001\000\000')";
  for (const std::string& script :
       {std::string("exit 0"), std::string("exit 1"), std::string("kill -SEGV $$"),
        std::string("for f; do :; done; head -c 24 /dev/zero >raw.lrz"),
        // A good header, and zeros for what was compressed.
        "if [ -e raw ]; then " + header + " >raw.lrz; else head -c 5000 /dev/zero >raw; fi"}) {
    const FakeLrzip fake(script);
    const auto stored = compress({Codec::lrzip}, some_bytes());
    ASSERT_FALSE(stored) << script;
    EXPECT_EQ(stored.error().code, ErrorCode::bad_data) << script;
  }
  // A pack goes on without it.
  const FakeLrzip fake("exit 0");
  const auto encoded = encode_artifact(artifact(), with({Codec::lrzip}, 1));
  ASSERT_TRUE(encoded) << to_string(encoded.error());
  EXPECT_FALSE(encoded->report.time_limited);
}

TEST(LimitedProgram, EndsWhatTakesTooLong) {
  const TemporaryFolder folder = TemporaryFolder::create().value();
  LimitedProgram program;
  program.path = "/bin/sh";
  program.folder = folder.path();
  program.arguments = {"-c", "while :; do :; done"};
  program.processor_seconds = 1;
  const auto busy = run_limited(program);
  ASSERT_FALSE(busy);
  EXPECT_EQ(busy.error().code, ErrorCode::resource_limit);
  program.arguments = {"-c", "sleep 60 & wait"};
  program.environment = {"PATH=/usr/bin:/bin"};
  program.seconds = 0.05;
  const auto start = std::chrono::steady_clock::now();
  const auto idle = run_limited(program);
  ASSERT_FALSE(idle);
  EXPECT_EQ(idle.error().code, ErrorCode::resource_limit);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(30));
}

TEST(LimitedProgram, BoundsMemoryAndFiles) {
  const TemporaryFolder folder = TemporaryFolder::create().value();
  LimitedProgram program;
  program.path = "/bin/sh";
  program.folder = folder.path();
  program.environment = {"PATH=/usr/bin:/bin"};
  program.file_bytes = 4096;
  program.arguments = {"-c", "head -c 100000 /dev/zero >large"};
  EXPECT_NE(run_limited(program).value(), 0);
  EXPECT_LE(file_size(join_path(folder.path(), "large")).value(), 4096u);
  program.memory_bytes = std::uint64_t{64} << 20;
  program.arguments = {"-c", "x=$(head -c 100000000 /dev/zero | tr '\\0' a); test ${#x} -eq 100000000"};
  EXPECT_NE(run_limited(program).value(), 0);
}

TEST(LimitedProgram, SeesOnlyWhatItIsGiven) {
  const TemporaryFolder folder = TemporaryFolder::create().value();
  ::setenv("PAR5_TEST_SECRET", "1", 1);
  LimitedProgram program;
  program.path = "/bin/sh";
  program.folder = folder.path();
  program.environment = {"PATH=/usr/bin:/bin"};
  program.arguments = {"-c", "echo \"$PAR5_TEST_SECRET\"; pwd; ls /proc/self/fd | wc -l; exit 7"};
  program.output = "said";
  EXPECT_EQ(run_limited(program).value(), 7);
  // ls itself holds the folder and the pipe.
  EXPECT_EQ(read_text_file(join_path(folder.path(), "said")).value(), "\n" + folder.path() + "\n4\n");
  ::unsetenv("PAR5_TEST_SECRET");
}

TEST(LimitedProgram, IsFoundInAbsoluteFoldersOnly) {
  EXPECT_EQ(find_program("no-program-of-this-name"), "");
  const SearchPath relative("bin:.:/bin");
  EXPECT_EQ(find_program("sh"), "/bin/sh");
}

}  // namespace
}  // namespace par5
