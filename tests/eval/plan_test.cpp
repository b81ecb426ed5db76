#include "eval/plan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

namespace par5 {
namespace {

// How often each target id is scored; id 0 is never.
std::vector<int> coverage(const std::vector<Window>& windows, std::int64_t targets) {
  std::vector<int> count(static_cast<std::size_t>(targets) + 1, 0);
  for (const Window& window : windows)
    for (std::int64_t t = window.first_target(); t < window.end_target(); ++t) ++count.at(static_cast<std::size_t>(t));
  return count;
}

void expect_every_target_once(const std::vector<Window>& windows, std::int64_t targets) {
  const std::vector<int> count = coverage(windows, targets);
  EXPECT_EQ(count[0], 0);
  EXPECT_TRUE(std::all_of(count.begin() + 1, count.end(), [](int n) { return n == 1; }));
  for (const Window& window : windows) {
    EXPECT_GE(window.scored(), 1);
    EXPECT_GE(window.first_scored, 0);
  }
}

TEST(Plan, SlidingScoresEveryTargetOnceWithTheContextThatIsPromised) {
  for (std::int64_t targets = 1; targets <= 40; ++targets)
    for (std::int64_t window = 1; window <= 17; ++window)
      for (std::int64_t stride = 1; stride <= window; ++stride) {
        const auto windows = sliding_plan(targets, window, stride);
        ASSERT_TRUE(windows);
        expect_every_target_once(*windows, targets);
        for (const Window& w : *windows) {
          EXPECT_EQ(w.start % stride, 0);
          EXPECT_LE(w.length, window);
          for (std::int64_t t = w.first_target(); t < w.end_target(); ++t) {
            const std::int64_t context = t - w.start;
            if (t <= window)
              EXPECT_EQ(context, t);
            else
              EXPECT_GE(context, window - stride + 1);
            EXPECT_LE(context, window);
          }
        }
        // All but the first and the last score exactly `stride`.
        for (std::size_t i = 1; i + 1 < windows->size(); ++i) EXPECT_EQ((*windows)[i].scored(), stride);
      }
}

TEST(Plan, ChunkedWindowsAreDisjointAndTheLastIsShorter) {
  const auto windows = chunked_plan(10, 4);
  ASSERT_TRUE(windows);
  EXPECT_EQ(*windows, (std::vector<Window>{{0, 4, 0}, {4, 4, 0}, {8, 2, 0}}));
}

TEST(Plan, SlidingLastWindowIsShorter) {
  const auto windows = sliding_plan(11, 6, 4);
  ASSERT_TRUE(windows);
  EXPECT_EQ(*windows, (std::vector<Window>{{0, 6, 0}, {4, 6, 2}, {8, 3, 2}}));
}

TEST(Plan, DocumentsNeverSeeBehindTheirBosAndTheNextBosIsScoredInThem) {
  std::mt19937 random(7);
  constexpr std::uint16_t bos = 1;
  for (int round = 0; round < 300; ++round) {
    const std::int64_t targets = 1 + random() % 60;
    std::vector<std::uint16_t> tokens(static_cast<std::size_t>(targets) + 1);
    for (auto& token : tokens) token = random() % 6 == 0 ? bos : 5;
    tokens[0] = round % 3 == 0 ? 5 : bos;
    const std::int64_t window = 1 + random() % 12, stride = 1 + random() % window;
    const auto windows = document_plan(tokens, targets, bos, window, stride);
    ASSERT_TRUE(windows);
    expect_every_target_once(*windows, targets);
    for (const Window& w : *windows) {
      // A BOS among a window's inputs can only be its first token.
      for (std::int64_t p = w.start + 1; p < w.start + w.length; ++p)
        EXPECT_NE(tokens[static_cast<std::size_t>(p)], bos);
      EXPECT_LE(w.length, window);
    }
    // Every target whose document begins less than a window before it sees that document from its BOS on.
    for (const Window& w : *windows)
      for (std::int64_t t = w.first_target(); t < w.end_target(); ++t) {
        std::int64_t begin = t - 1;
        while (begin > 0 && tokens[static_cast<std::size_t>(begin)] != bos) --begin;
        if (t - begin <= window) {
          EXPECT_EQ(w.start, begin);
        }
        EXPECT_GE(w.start, begin);
      }
  }
}

TEST(Plan, CompatDropsTheLeaderboardsTail) {
  EXPECT_EQ(compat_targets(718847, 512), 718336);
  EXPECT_EQ(compat_targets(511, 512), 0);
  EXPECT_EQ(compat_targets(1024, 512), 1024);
}

TEST(Plan, ChunksAreScoredWholeOnceTheirWindowsAre) {
  for (std::int64_t targets : {1, 7, 64, 65, 100})
    for (std::int64_t window : {1, 5, 8})
      for (std::int64_t stride = 1; stride <= window; ++stride)
        for (std::int64_t chunk : {1, 6, 16, 200}) {
          const auto windows = sliding_plan(targets, window, stride);
          const auto bounds = chunk_bounds(*windows, targets, chunk);
          ASSERT_TRUE(bounds);
          ASSERT_EQ(static_cast<std::int64_t>(bounds->size()) - 1, (targets + chunk - 1) / chunk);
          EXPECT_EQ(bounds->front(), 0u);
          EXPECT_EQ(bounds->back(), windows->size());
          for (std::size_t c = 0; c + 1 < bounds->size(); ++c) {
            const auto first = static_cast<std::int64_t>(c) * chunk;
            for (std::size_t w = (*bounds)[c]; w < (*bounds)[c + 1]; ++w) {
              EXPECT_GT((*windows)[w].first_target(), first);
              EXPECT_LE((*windows)[w].first_target(), first + chunk);
            }
            const std::vector<Window> so_far(windows->begin(),
                                             windows->begin() + static_cast<std::ptrdiff_t>((*bounds)[c + 1]));
            const std::vector<int> count = coverage(so_far, targets);
            for (std::int64_t t = 1; t <= std::min(first + chunk, targets); ++t)
              EXPECT_EQ(count[static_cast<std::size_t>(t)], 1);
          }
        }
}

TEST(Plan, ImpossibleRequestsAreErrors) {
  EXPECT_EQ(sliding_plan(10, 4, 5).error().code, ErrorCode::usage);
  EXPECT_EQ(sliding_plan(10, 4, 0).error().code, ErrorCode::usage);
  EXPECT_EQ(sliding_plan(10, 0, 0).error().code, ErrorCode::usage);
  EXPECT_EQ(sliding_plan(0, 4, 4).error().code, ErrorCode::bad_data);
  EXPECT_EQ(chunk_bounds({}, 10, 0).error().code, ErrorCode::usage);
}

}  // namespace
}  // namespace par5
