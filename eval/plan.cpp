#include "eval/plan.h"

#include <algorithm>
#include <string>

namespace par5 {
namespace {

Status check(std::int64_t targets, std::int64_t window, std::int64_t stride) {
  if (targets < 1) return bad_data("the data holds no targets: a BOS and at least one token are needed");
  if (window < 1) return usage_error("the window must be at least 1 token", "eval.window");
  if (stride < 1 || stride > window)
    return usage_error("a stride of " + std::to_string(stride) + " is outside 1 … " + std::to_string(window) +
                           " (the window): targets would be skipped",
                       "eval.stride");
  return {};
}

// Sliding windows over inputs [begin, end).
void append_windows(std::int64_t begin, std::int64_t end, std::int64_t window, std::int64_t stride,
                    std::vector<Window>& windows) {
  std::int64_t scored_end = begin;
  for (std::int64_t start = begin; scored_end < end; start += stride) {
    const std::int64_t window_end = std::min(start + window, end);
    windows.push_back({start, window_end - start, scored_end - start});
    scored_end = window_end;
  }
}

}  // namespace

Result<std::vector<Window>> chunked_plan(std::int64_t targets, std::int64_t window) {
  return sliding_plan(targets, window, window);
}

Result<std::vector<Window>> sliding_plan(std::int64_t targets, std::int64_t window, std::int64_t stride) {
  P5_OK(check(targets, window, stride));
  std::vector<Window> windows;
  append_windows(0, targets, window, stride, windows);
  return windows;
}

Result<std::vector<Window>> document_plan(std::span<const std::uint16_t> tokens, std::int64_t targets,
                                          std::uint16_t bos, std::int64_t window, std::int64_t stride) {
  P5_OK(check(targets, window, stride));
  if (static_cast<std::int64_t>(tokens.size()) <= targets)
    return internal_error("a plan for " + std::to_string(targets) + " targets was asked of " +
                          std::to_string(tokens.size()) + " tokens");
  std::vector<Window> windows;
  for (std::int64_t begin = 0; begin < targets;) {
    std::int64_t end = begin + 1;
    while (end < targets && tokens[static_cast<std::size_t>(end)] != bos) ++end;
    append_windows(begin, end, window, stride, windows);
    begin = end;
  }
  return windows;
}

std::int64_t compat_targets(std::int64_t targets, std::int64_t window) { return targets / window * window; }

Result<std::vector<std::size_t>> chunk_bounds(std::span<const Window> windows, std::int64_t targets,
                                              std::int64_t chunk) {
  if (chunk < 1) return usage_error("a chunk must hold at least 1 target", "ttt.chunk_tokens");
  const std::int64_t chunks = (targets + chunk - 1) / chunk;
  std::vector<std::size_t> bounds;
  std::size_t next = 0;
  for (std::int64_t c = 0; c < chunks; ++c) {
    bounds.push_back(next);
    while (next < windows.size() && windows[next].first_target() <= (c + 1) * chunk) ++next;
  }
  bounds.push_back(next);
  return bounds;
}

}  // namespace par5
