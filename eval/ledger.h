// The record of an evaluation: which target was scored at how many bits, and what was learnt from when.
#pragma once

#include <cstdint>
#include <numbers>
#include <span>
#include <vector>

#include "core/error.h"
#include "core/hash.h"

namespace par5 {

// Scores are whole numbers of 2^-22 bits, so that sums are exact in any order and equal what the ledger's file holds.
// The largest that fits is just under 1024 bits, where a double's probability ends too.
inline constexpr int kLedgerFractionBits = 22;
inline constexpr std::uint32_t kNotScored = 0xffffffff;

inline double ledger_bits(std::uint64_t units) { return static_cast<double>(units) / (1 << kLedgerFractionBits); }
inline double ledger_nats(std::uint64_t units) { return ledger_bits(units) * std::numbers::ln2; }
// The nearest whole number of units; bad_data unless it is a number from 0 to below 1024 bits.
Result<std::uint32_t> ledger_units(double nats);

// One entry of the order of events. Targets [first_target, end_target) were scored, or learnt from in one optimiser
// step on windows of `length` targets, while the model had taken `updates` steps since it was loaded; or the learner
// went back to the model as loaded; or `content` is the SHA-256 of the learner's state as it was then.
struct LedgerEvent {
  enum class Kind { scored, learnt, reset, content };
  Kind kind = Kind::scored;
  std::int64_t first_target = 0;
  std::int64_t end_target = 0;
  std::int64_t updates = 0;
  std::int64_t length = 0;
  double learning_rate = 0;
  Digest content{};
  bool operator==(const LedgerEvent&) const = default;
};

class Ledger {
 public:
  // For target ids 1 … targets.
  explicit Ledger(std::int64_t targets);

  std::int64_t targets() const { return static_cast<std::int64_t>(units_.size()) - 1; }
  std::int64_t scored() const { return scored_; }
  std::int64_t updates() const { return updates_; }
  // Are all target ids in [first, end) scored? Ids outside 1 … targets never are.
  bool all_scored(std::int64_t first, std::int64_t end) const;
  bool any_scored(std::int64_t first, std::int64_t end) const;

  // Scores of targets first, first + 1, …, in units. A target that has a score already is an error, and nothing is
  // recorded.
  Status record_scores(std::int64_t first, std::span<const std::uint32_t> units);
  // An optimiser step on windows of `length` targets that follow each other and make up targets [first, end). An error
  // unless all of them are scored.
  Status record_update(std::int64_t first, std::int64_t end, std::int64_t length, double learning_rate);
  void record_reset();
  void record_content(const Digest& content);

  // Scores of target ids 1 … targets, by id - 1, in units of 2^-22 bits; kNotScored where there is none yet.
  std::span<const std::uint32_t> units() const { return std::span<const std::uint32_t>(units_).subspan(1); }
  // The sum of all scores.
  std::uint64_t total_units() const { return total_units_; }
  // In the order in which they happened; consecutive scores of consecutive targets are one entry.
  const std::vector<LedgerEvent>& events() const { return events_; }

 private:
  std::vector<std::uint32_t> units_;  // by target id
  std::vector<LedgerEvent> events_;
  std::uint64_t total_units_ = 0;
  std::int64_t scored_ = 0;
  std::int64_t updates_ = 0;
};

}  // namespace par5
