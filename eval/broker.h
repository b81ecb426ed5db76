// The broker holds the tokens of an evaluation and keeps its ledger. Scorers and learners get tokens from it alone, so
// the only orders that can be written are: every target scored at most once, and learnt from only after that.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/progress.h"
#include "eval/ledger.h"
#include "eval/plan.h"
#include "eval/scorer.h"

namespace par5 {

class TokenBroker {
 public:
  // Scores target ids 1 … targets of the stream; `tokens` holds at least targets + 1 ids.
  static Result<TokenBroker> create(std::vector<std::uint16_t> tokens, std::int64_t targets);

  // Scores the windows in the given order, in batches of at most `batch_tokens` inputs (at least one window). Windows
  // that are shorter than their batch's longest are padded. Progress (may be null) counts scored targets. An error if
  // a target has been scored already, or if the scorer's rows are not distributions (a row of each block is summed).
  Status score(Scorer& scorer, std::span<const Window> windows, std::int64_t batch_tokens, Progress* progress);

  // One step of the learner on `windows` disjoint windows of `length` that follow each other: targets [first_target,
  // first_target + windows · length), inputs one token earlier. An error, before the learner sees anything, unless
  // all of these targets have been scored.
  Status learn(Learner& learner, std::int64_t first_target, std::int64_t windows, std::int64_t length,
               double learning_rate);

  // Back to the model as loaded, on record.
  void reset(Learner& learner);

  const Ledger& ledger() const { return ledger_; }

 private:
  TokenBroker(std::vector<std::uint16_t> tokens, std::int64_t targets) : tokens_(std::move(tokens)), ledger_(targets) {}
  Status check(const Window& window) const;
  Status score_batch(Scorer& scorer, std::span<const Window> windows, std::int64_t length);

  std::vector<std::uint16_t> tokens_;
  Ledger ledger_;
};

}  // namespace par5
