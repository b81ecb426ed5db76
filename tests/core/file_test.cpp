#include "core/file.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <functional>

#include "core/hash.h"
#include "core/parallel.h"

namespace par5 {
namespace {

TemporaryFolder temporary_folder() {
  auto folder = TemporaryFolder::create();
  EXPECT_TRUE(folder);
  return std::move(*folder);
}

TEST(AtomicFile, AppearsOnlyWhenCommitted) {
  const auto folder = temporary_folder();
  const std::string path = join_path(folder.path(), "out");
  {
    auto file = AtomicFile::create(path, Overwrite::no);
    ASSERT_TRUE(file);
    ASSERT_TRUE(file->write("half"));
    EXPECT_FALSE(file_exists(path));
  }
  EXPECT_TRUE(list_folder(folder.path())->empty()) << "a discarded output leaves nothing";
  ASSERT_TRUE(write_file(path, "whole", Overwrite::no));
  EXPECT_EQ(*read_text_file(path), "whole");
  EXPECT_EQ(list_folder(folder.path())->size(), 1u);
}

TEST(AtomicFile, NeverReplacesWithoutForce) {
  const auto folder = temporary_folder();
  const std::string path = join_path(folder.path(), "out");
  ASSERT_TRUE(write_file(path, "first", Overwrite::no));
  const Status refused = write_file(path, "second", Overwrite::no);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::usage);
  EXPECT_EQ(*read_text_file(path), "first");
  ASSERT_TRUE(write_file(path, "third", Overwrite::yes));
  EXPECT_EQ(*read_text_file(path), "third");
}

TEST(AtomicFile, AFileThatAppearsMeanwhileIsKept) {
  const auto folder = temporary_folder();
  const std::string path = join_path(folder.path(), "out");
  auto file = AtomicFile::create(path, Overwrite::no);
  ASSERT_TRUE(file && file->write("mine"));
  ASSERT_TRUE(write_file(path, "theirs", Overwrite::no));
  EXPECT_FALSE(file->commit());
  EXPECT_EQ(*read_text_file(path), "theirs");
}

// Runs `body` in a child process, so that its resource limits stay there. True if the body returned true.
bool in_child(const std::function<bool()>& body) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(body() ? 0 : 1);
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

TEST(AtomicFile, AFileSizeLimitIsAnErrorAndLeavesNothing) {
  const auto folder = temporary_folder();
  const std::string path = join_path(folder.path(), "out");
  ASSERT_TRUE(write_file(path, "old", Overwrite::no));
  EXPECT_TRUE(in_child([&] {
    ::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{4096, 4096};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    const std::string large(100000, 'x');
    const Status status = write_file(path, large, Overwrite::yes);
    return !status && status.error().code == ErrorCode::io && status.error().file == path;
  }));
  EXPECT_EQ(*read_text_file(path), "old");
  EXPECT_EQ(list_folder(folder.path())->size(), 1u);
}

TEST(AtomicFile, AFullDeviceIsAnError) {
  if (!file_exists("/dev/full")) GTEST_SKIP() << "no /dev/full here";
  // /dev/full answers ENOSPC to every write; the temporary file cannot live there, so the report of a command does.
  FILE* full = std::fopen("/dev/full", "w");
  ASSERT_NE(full, nullptr);
  EXPECT_TRUE(std::fputs("text", full) < 0 || std::fflush(full) != 0);
  EXPECT_EQ(errno, ENOSPC);
  std::fclose(full);
}

TEST(File, MissingAndUnreadableFilesAreNamed) {
  const auto missing = read_file("/nonexistent/file");
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, ErrorCode::io);
  EXPECT_EQ(missing.error().file, "/nonexistent/file");
  EXPECT_NE(missing.error().message.find("No such file"), std::string::npos);
  const auto folder = temporary_folder();
  EXPECT_FALSE(read_file(folder.path()));
  EXPECT_FALSE(MappedFile::open(folder.path()));
  EXPECT_FALSE(write_file("/nonexistent/out", "x", Overwrite::no));
}

TEST(File, BoundsAreHeld) {
  const auto folder = temporary_folder();
  const std::string path = join_path(folder.path(), "big");
  ASSERT_TRUE(write_file(path, std::string(1000, 'x'), Overwrite::no));
  const auto bytes = read_file(path, 999);
  ASSERT_FALSE(bytes);
  EXPECT_EQ(bytes.error().code, ErrorCode::resource_limit);
  EXPECT_EQ(read_file(path, 1000)->size(), 1000u);
}

TEST(File, FoldersAndNames) {
  const auto folder = temporary_folder();
  const std::string deep = join_path(folder.path(), "a");
  ASSERT_TRUE(make_folders(deep));
  ASSERT_TRUE(make_folders(deep));
  EXPECT_TRUE(is_folder(deep));
  ::rmdir(deep.c_str());
  EXPECT_EQ(parent_folder("/a/b"), "/a");
  EXPECT_EQ(parent_folder("/a"), "/");
  EXPECT_EQ(parent_folder("a"), ".");
  EXPECT_EQ(file_name("/a/b.c/"), "b.c");
  EXPECT_EQ(file_name("b"), "b");
}

TEST(Hash, KnownAnswers) {
  EXPECT_EQ(sha256_hex(as_bytes("abc")), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(sha256_hex(as_bytes("")), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(xxh3_64(as_bytes("")), 0x2d06800538d394c2ull);
}

TEST(Parallel, EveryIndexOnceForAnyThreadCount) {
  for (const std::size_t threads : {1u, 2u, 7u}) {
    std::vector<int> seen(1000, 0);
    parallel_for(seen.size(), threads, [&](std::size_t i) { seen[i]++; });
    EXPECT_EQ(std::count(seen.begin(), seen.end(), 1), 1000);
  }
  EXPECT_THROW(parallel_for(10, 2,
                            [](std::size_t i) {
                              if (i == 3) throw std::bad_alloc();
                            }),
               std::bad_alloc);
}

}  // namespace
}  // namespace par5
