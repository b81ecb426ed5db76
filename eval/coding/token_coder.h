// Token sequences ⇄ the payload of a bitstream, by the exact engine's frequencies (docs/bitstream.md).
//
// A text is coded as lanes: sequences that know nothing of each other, so that they can be decoded in lockstep, one
// token of each at a time through the network as one batch. All lanes share one range coder, which takes the first
// target of every lane, then the second of every lane, and so on: a lane costs no bytes of payload.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "core/error.h"
#include "core/progress.h"
#include "engine/engine.h"
#include "eval/coding/interval_coder.h"

namespace par5 {

// Which inputs predict a target. Target t of a lane (t >= 1; token 0 is given) is predicted with inputs [s, t): s is 0
// at first; where `by_document` is set and token t - 1 is `bos`, s becomes t - 1; else where t - s would exceed
// `window`, s grows by `stride`. These are the windows of eval/plan.h, found without looking ahead.
struct WindowRule {
  std::int64_t window = 1;
  std::int64_t stride = 1;  // 1 … window
  bool by_document = false;
  std::uint16_t bos = 1;

  std::int64_t next_start(std::int64_t start, std::int64_t target, std::uint16_t previous) const {
    if (by_document && previous == bos) return target - 1;
    return target - start > window ? start + stride : start;
  }
  // The first target of the window that begins at `start`, where documents are not looked at.
  std::int64_t first_target(std::int64_t start) const { return start == 0 ? 1 : start + window - stride + 1; }
};

// A lane before it is decoded.
struct LaneStart {
  std::uint16_t first = 0;   // token 0
  std::int64_t targets = 0;  // tokens to come
};

struct EncodedTokens {
  std::vector<std::byte> payload;
  double claimed_bits = 0;  // sum of log2(total / frequency)
};

// Where a decoder stands: enough to go on in another process.
struct DecodeState {
  std::vector<std::vector<std::uint16_t>> lanes;  // tokens so far, the given ones included
  IntervalDecoderState coder;
};

class TokenCoder {
 public:
  // Called before a window is entered, with the lane's tokens before the window's first target: all that may be learnt
  // from. What it learns changes the engine. With one, there must be one lane and no `by_document`.
  using Learning = std::function<Status(std::span<const std::uint16_t> known)>;
  // Called by `decode` from time to time.
  using Checkpoint = std::function<Status(const DecodeState& state)>;

  // Logits are divided by `temperature`.
  TokenCoder(Engine& engine, double temperature, const WindowRule& rule, Learning learning = {})
      : engine_(engine), temperature_(temperature), rule_(rule), learning_(std::move(learning)) {}

  // Each lane is its given token and then its targets. Progress (may be null) counts targets.
  Result<EncodedTokens> encode(std::span<const std::span<const std::uint16_t>> lanes, Progress* progress);

  // The lanes' tokens, the given ones included. A payload that ends too early, goes on behind its end, or brings the
  // model to results that are not finite is bad_data. `resume` (may be null) is a state that `checkpoint` was given for
  // the same payload and lanes; bad_data where it does not fit them.
  Result<std::vector<std::vector<std::uint16_t>>> decode(std::span<const LaneStart> lanes,
                                                         std::span<const std::byte> payload, Progress* progress,
                                                         const DecodeState* resume = nullptr,
                                                         const Checkpoint& checkpoint = {});

 private:
  struct EncodingLane;
  struct DecodingLane;
  Status encode_windows(std::vector<EncodingLane>& lanes, EncodedTokens& result);
  Status decode_step(std::vector<DecodingLane>& lanes, DecodeState& state, IntervalDecoder& coder);

  Status enter_window(std::span<const std::uint16_t> known);

  Engine& engine_;
  double temperature_;
  WindowRule rule_;
  Learning learning_;
  Windows windows_;
  std::vector<std::uint64_t> frequencies_, totals_;
};

// How many lanes of these windows fit a quarter of a GiB of keys and values; 1 … 64.
std::int64_t lanes_in_memory(const ModelConfig& model, std::int64_t window);

}  // namespace par5
