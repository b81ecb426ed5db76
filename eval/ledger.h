// The record of an evaluation: which target was scored at how many nats, and what was learnt from when. In memory.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/error.h"

namespace par5 {

// One entry of the order of events: targets [first_target, end_target) were scored, or learnt from, while the model
// had taken `updates` optimiser steps.
struct LedgerEvent {
  enum class Kind { scored, learnt };
  Kind kind = Kind::scored;
  std::int64_t first_target = 0;
  std::int64_t end_target = 0;
  std::int64_t updates = 0;
  double learning_rate = 0;  // of a learnt entry
  bool operator==(const LedgerEvent&) const = default;
};

class Ledger {
 public:
  // For target ids 1 … targets.
  explicit Ledger(std::int64_t targets);

  std::int64_t targets() const { return static_cast<std::int64_t>(nats_.size()) - 1; }
  std::int64_t scored() const { return scored_; }
  std::int64_t updates() const { return updates_; }
  // Are all target ids in [first, end) scored? Ids outside 1 … targets never are.
  bool all_scored(std::int64_t first, std::int64_t end) const;
  bool any_scored(std::int64_t first, std::int64_t end) const;

  // Scores of targets first, first + 1, …, in nats. A target that has a score already, or a score that is not a number
  // of nats (negative, infinite, NaN), is an error, and nothing is recorded.
  Status record_scores(std::int64_t first, std::span<const float> nats);
  // An optimiser step that used targets [first, end). An error unless all of them are scored.
  Status record_update(std::int64_t first, std::int64_t end, double learning_rate);

  // Nats of target ids 1 … targets, by id - 1; -1 where a target has no score yet.
  std::span<const float> nats() const { return std::span<const float>(nats_).subspan(1); }
  // In the order in which they happened; consecutive scores of consecutive targets are one entry.
  const std::vector<LedgerEvent>& events() const { return events_; }

 private:
  std::vector<float> nats_;  // by target id
  std::vector<LedgerEvent> events_;
  std::int64_t scored_ = 0;
  std::int64_t updates_ = 0;
};

}  // namespace par5
