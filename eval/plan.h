// Plans: which windows of the token stream are run, and which of their positions are scored. Pure arithmetic.
//
// Target id t in [1, tokens) is the t-th token of the stream, predicted from tokens before it; token 0 is given. Every
// plan scores every target id in [1, targets] exactly once.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/error.h"

namespace par5 {

// Inputs [start, start + length) of the stream. Positions [first_scored, length) are scored: position p scores target
// start + p + 1 with the p + 1 inputs up to it as context.
struct Window {
  std::int64_t start = 0;
  std::int64_t length = 0;
  std::int64_t first_scored = 0;

  std::int64_t first_target() const { return start + first_scored + 1; }
  std::int64_t end_target() const { return start + length + 1; }  // one past the last
  std::int64_t scored() const { return length - first_scored; }
  bool operator==(const Window&) const = default;
};

// Disjoint windows of `window` targets; the last one is shorter where the window does not divide `targets`.
Result<std::vector<Window>> chunked_plan(std::int64_t targets, std::int64_t window);

// Windows that start every `stride` tokens. The first scores all of its targets, each later one its last `stride`: a
// target after the first window has window - stride + 1 … window tokens of context. The last window ends at the last
// target; it is up to stride - 1 tokens shorter and scores so many fewer. stride in [1, window].
Result<std::vector<Window>> sliding_plan(std::int64_t targets, std::int64_t window, std::int64_t stride);

// sliding_plan within each document (stride = window: chunked). Context never reaches behind the document's BOS. The
// BOS of the next document is a target in the context of the document that it ends. Tokens before the first BOS are a
// document of their own. `tokens` holds targets + 1 tokens or more.
Result<std::vector<Window>> document_plan(std::span<const std::uint16_t> tokens, std::int64_t targets,
                                          std::uint16_t bos, std::int64_t window, std::int64_t stride);

// The leaderboard's dropped tail (`--compat`): targets cut to a multiple of the window.
std::int64_t compat_targets(std::int64_t targets, std::int64_t window);

// Groups the windows of a plan (in stream order) by the chunk of `chunk` targets that holds their first scored target:
// group c are windows [bounds[c], bounds[c + 1]). Once groups 0 … c are scored, all targets of chunk c are.
Result<std::vector<std::size_t>> chunk_bounds(std::span<const Window> windows, std::int64_t targets,
                                              std::int64_t chunk);

}  // namespace par5
