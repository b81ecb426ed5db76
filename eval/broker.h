// The broker holds the tokens of an evaluation and keeps its ledger. Scorers and learners get tokens from it alone, so
// the only orders that can be written are: every target scored at most once, and learnt from only after that.
#pragma once

#include <chrono>
#include <cstdint>
#include <span>
#include <vector>

#include "core/progress.h"
#include "eval/ledger.h"
#include "eval/ledger_file.h"
#include "eval/plan.h"
#include "eval/scorer.h"

namespace par5 {

class TokenBroker {
 public:
  // Scores target ids 1 … targets of the stream; `tokens` holds at least targets + 1 ids.
  static Result<TokenBroker> create(std::vector<std::uint16_t> tokens, std::int64_t targets);

  // From now on the ledger is also written to `file`, with a snapshot about every `snapshot_seconds`. What the file
  // already records is not done again: the caller goes through the evaluation from its start, and the broker takes
  // scores from the record and passes over updates, whose outcome it restores from the snapshot, until it has caught
  // up; without a snapshot updates are made again. `learner` may be null where nothing is learnt; both must outlive the
  // broker. To be called before anything is scored.
  Status keep(LedgerFile& file, Learner* learner, double snapshot_seconds);

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
  Status reset(Learner& learner);

  const Ledger& ledger() const { return ledger_; }

 private:
  TokenBroker(std::vector<std::uint16_t> tokens, std::int64_t targets) : tokens_(std::move(tokens)), ledger_(targets) {}
  Status check(const Window& window) const;
  Status score_batch(Scorer& scorer, std::span<const Window> windows, std::int64_t length);

  // How far the file's record has been gone through.
  struct Replay {
    std::size_t event = 0;    // the next one
    std::int64_t scored = 0;  // targets of it that are behind us
    std::size_t units = 0;    // the next score
  };
  bool replaying() const { return file_ && replay_.event < file_->recorded_events().size(); }
  // The scores of the batch's first targets, as far as the record goes.
  Result<std::vector<std::uint32_t>> recorded_scores(std::span<const Window> windows);
  // Moves past a recorded event that is not a score; an error where the record says otherwise.
  Status pass(const LedgerEvent& event);
  Status record_content(const Learner& learner);
  // Brings the learner to where the record ends.
  Status catch_up();
  Status snapshot(bool now);

  std::vector<std::uint16_t> tokens_;
  Ledger ledger_;
  LedgerFile* file_ = nullptr;
  Learner* learner_ = nullptr;
  double snapshot_seconds_ = 0;
  std::chrono::steady_clock::time_point last_snapshot_;
  Replay replay_;
  bool caught_up_ = true;
};

}  // namespace par5
