// Real processes: exit status, phases, files, network. What the system forbids is reported as unknown, and tests say
// so.
#include "budgets/process_timer.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "core/file.h"

namespace par5 {
namespace {

Receipt timed(const std::string& script, std::vector<std::pair<std::string, std::string>> markers = {},
              bool trace = true) {
  TimedCommand command;
  command.arguments = {"/bin/sh", "-c", script};
  command.markers = std::move(markers);
  command.trace = trace;
  command.output_to_stderr = true;
  auto receipt = run_timed(command);
  EXPECT_TRUE(receipt) << to_string(receipt.error());
  return *receipt;
}
const Receipt::File* find(const Receipt& receipt, const std::string& path) {
  const auto found = std::find_if(receipt.files_opened->begin(), receipt.files_opened->end(),
                                  [&](const auto& file) { return file.path == path; });
  return found == receipt.files_opened->end() ? nullptr : &*found;
}

TEST(ProcessTimer, ExitStatusAndClocks) {
  EXPECT_EQ(timed("exit 0").exit_status, 0);
  EXPECT_EQ(timed("exit 7", {}, false).exit_status, 7);
  EXPECT_EQ(timed("kill -TERM $$").exit_status, 128 + 15);
  const Receipt slept = timed("sleep 0.2");
  EXPECT_GE(slept.wall_seconds, 0.2);
  EXPECT_LT(slept.cpu_seconds, slept.wall_seconds);
  EXPECT_GT(slept.peak_bytes, 100'000);
}

TEST(ProcessTimer, PhasesBeginAtTheirMarkers) {
  const Receipt receipt =
      timed("echo loading; sleep 0.1; echo scoring; sleep 0.2; printf 'half'; sleep 0.05; echo ' line'",
            {{"score", "scoring"}, {"end", "half line"}, {"never", "no such text"}});
  ASSERT_EQ(receipt.phases.size(), 3u);
  EXPECT_EQ(receipt.phases[0].name, "start-up");
  EXPECT_GE(receipt.phases[0].seconds, 0.1);
  EXPECT_EQ(receipt.phases[1].name, "score");
  EXPECT_GE(receipt.phases[1].seconds, 0.2);
  EXPECT_EQ(receipt.phases[2].name, "end");
  EXPECT_EQ(receipt.missing_markers, std::vector<std::string>{"never"});
  double sum = 0;
  for (const Phase& phase : receipt.phases) sum += phase.seconds;
  EXPECT_NEAR(sum, receipt.wall_seconds, 1e-9);
}

TEST(ProcessTimer, FilesOfTheWholeTreeAreSeen) {
  auto folder = TemporaryFolder::create();
  ASSERT_TRUE(folder);
  const std::string in = join_path(folder->path(), "in"), out = join_path(folder->path(), "out");
  ASSERT_TRUE(write_file(in, "x", Overwrite::no));
  const Receipt receipt = timed("cd " + folder->path() + " && (cat in | cat >out) && cat missing 2>/dev/null; true");
  if (!receipt.files_opened) GTEST_SKIP() << "tracing is not allowed here: " << receipt.unknown_because;
  ASSERT_TRUE(find(receipt, in));
  EXPECT_FALSE(find(receipt, in)->written);
  ASSERT_TRUE(find(receipt, out));
  EXPECT_TRUE(find(receipt, out)->written);
  EXPECT_FALSE(find(receipt, join_path(folder->path(), "missing")));
  EXPECT_TRUE(std::any_of(receipt.files_opened->begin(), receipt.files_opened->end(),
                          [](const auto& file) { return file.executed; }));
  EXPECT_EQ(receipt.network, Receipt::Network::unused);
}

TEST(ProcessTimer, TheNetworkIsSeen) {
  // bash can connect by itself; nothing listens there.
  const Receipt receipt = timed("exec bash -c 'exec 3<>/dev/tcp/127.0.0.1/9' 2>/dev/null");
  if (!receipt.files_opened) GTEST_SKIP() << "tracing is not allowed here: " << receipt.unknown_because;
  EXPECT_EQ(receipt.network, Receipt::Network::used);
  EXPECT_EQ(receipt.peers, std::vector<std::string>{"127.0.0.1:9"});
}

TEST(ProcessTimer, OfflineMeansOffline) {
  TimedCommand command;
  command.arguments = {"/bin/sh", "-c", "test $(grep -c : /proc/net/dev) -eq 1"};  // the loopback interface alone
  command.offline = true;
  const auto receipt = run_timed(command);
  if (!receipt) GTEST_SKIP() << "this system allows no network namespace: " << to_string(receipt.error());
  EXPECT_EQ(receipt->exit_status, 0);
  EXPECT_EQ(receipt->network, Receipt::Network::off);
}

TEST(ProcessTimer, WithoutTracingTheReceiptSaysUnknown) {
  const Receipt receipt = timed("true", {}, false);
  EXPECT_FALSE(receipt.files_opened);
  EXPECT_EQ(receipt.network, Receipt::Network::unknown);
  const auto json = receipt_json(receipt);
  EXPECT_TRUE(json["files_opened"].is_null());
  EXPECT_TRUE(json["network"]["used"].is_null());
  EXPECT_EQ(json["command"], "time");
}

TEST(ProcessTimer, WhatCannotStartIsAnError) {
  TimedCommand command;
  command.arguments = {"/no/such/program"};
  EXPECT_EQ(run_timed(command).error().code, ErrorCode::missing_tool);
  command.arguments = {"/etc/passwd"};
  EXPECT_EQ(run_timed(command).error().code, ErrorCode::io);
}

}  // namespace
}  // namespace par5
