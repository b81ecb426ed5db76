// Test-time training, score first: which windows are scored before which steps are taken. Every kind is a list of
// rounds, made here by arithmetic alone and run by one loop; which values learn, and how a step changes them, is the
// learner's matter. docs/evaluation.md has the definitions of the kinds.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "core/config.h"
#include "core/progress.h"
#include "eval/broker.h"

namespace par5 {

// What one optimiser step learns from: `windows` windows of `length` targets that follow each other.
struct TttStep {
  std::int64_t first_target = 0;
  std::int64_t windows = 0;
  std::int64_t length = 0;
  bool operator==(const TttStep&) const = default;
};

// Windows [first_window, end_window) of the plan are scored; then the steps are taken in order, `epochs` times over.
struct TttRound {
  std::size_t first_window = 0;
  std::size_t end_window = 0;
  bool reset_first = false;  // the learner goes back to the stored model before the round
  std::int64_t epochs = 0;
  double learning_rate = 0;
  std::vector<TttStep> steps;
};

// The learning rate of chunk c of n. Cosine: lr · ½ (1 + cos(π c / (n − 1))), which needs the total count, so that this
// schedule cannot stream; it is 0 for the last chunk, which is not learnt from anyway. Defined bit by bit
// (docs/arithmetic.md, "Steps").
double ttt_learning_rate(const TttConfig& ttt, std::int64_t chunk, std::int64_t chunks);

// The steps that learn from targets [begin, end): disjoint windows of `window` targets, `batch_windows` to a step; a
// shorter window that is left over at the end is a step of its own.
std::vector<TttStep> chunk_steps(std::int64_t begin, std::int64_t end, std::int64_t window, std::int64_t batch_windows);

// Chunk c holds targets [c · chunk_tokens + 1, (c + 1) · chunk_tokens + 1). A round scores the windows of `plan` (in
// stream order) whose first scored target lies in its chunk, then takes the chunk's steps. Nothing is learnt where no
// window is left to score: not from the last chunk, nor from those before it that the last window reaches over.
Result<std::vector<TttRound>> chunk_rounds(std::span<const Window> plan, std::int64_t targets, std::int64_t window,
                                           const TttConfig& ttt);

// The same within each document of `plan` (document_plan's order): its chunks begin at its first target, and its last
// one is not learnt from. The learner is reset where a document begins. With `carry` it is not, and only the last chunk
// of all is not learnt from.
Result<std::vector<TttRound>> document_rounds(std::span<const Window> plan, std::span<const std::uint16_t> tokens,
                                              std::int64_t targets, std::uint16_t bos, std::int64_t window,
                                              const TttConfig& ttt, bool carry);

// Phases: whenever another `documents` documents are scored, up to `phases` times, learning from all targets since the
// last phase; what follows is scored to its end.
Result<std::vector<TttRound>> phase_rounds(std::span<const Window> plan, std::span<const std::uint16_t> tokens,
                                           std::int64_t targets, std::uint16_t bos, std::int64_t window,
                                           const PhasedConfig& phased);

// Runs the rounds. The broker refuses a step on a target that is not scored.
Status run_rounds(TokenBroker& broker, Scorer& scorer, Learner& learner, std::span<const Window> plan,
                  std::span<const TttRound> rounds, std::int64_t batch_tokens, Progress* progress);

}  // namespace par5
