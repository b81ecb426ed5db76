#include "eval/ledger.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>

namespace par5 {
namespace {

std::string range_text(std::int64_t first, std::int64_t end) {
  return "[" + std::to_string(first) + ", " + std::to_string(end) + ")";
}

}  // namespace

Result<std::uint32_t> ledger_units(double nats) {
  const double units = std::round(nats / std::numbers::ln2 * (1 << kLedgerFractionBits));
  if (!(nats >= 0) || !(units < kNotScored))
    return bad_data("a score of " + std::to_string(nats) + " nats is outside 0 … 1024 bits");
  return static_cast<std::uint32_t>(units);
}

Ledger::Ledger(std::int64_t targets) : units_(static_cast<std::size_t>(targets) + 1, kNotScored) {}

bool Ledger::all_scored(std::int64_t first, std::int64_t end) const {
  if (first >= end) return true;
  if (first < 1 || end > targets() + 1) return false;
  return std::find(units_.begin() + first, units_.begin() + end, kNotScored) == units_.begin() + end;
}

bool Ledger::any_scored(std::int64_t first, std::int64_t end) const {
  first = std::max<std::int64_t>(first, 1);
  end = std::clamp(end, first, targets() + 1);
  return std::any_of(units_.begin() + first, units_.begin() + end,
                     [](std::uint32_t units) { return units != kNotScored; });
}

Status Ledger::record_scores(std::int64_t first, std::span<const std::uint32_t> units) {
  const std::int64_t end = first + static_cast<std::int64_t>(units.size());
  if (first < 1 || end > targets() + 1)
    return internal_error("targets " + range_text(first, end) + " are outside 1 … " + std::to_string(targets()));
  if (any_scored(first, end)) return internal_error("a target in " + range_text(first, end) + " would be scored twice");
  total_units_ = std::accumulate(units.begin(), units.end(), total_units_);
  std::copy(units.begin(), units.end(), units_.begin() + first);
  scored_ += end - first;
  if (!events_.empty() && events_.back().kind == LedgerEvent::Kind::scored && events_.back().end_target == first)
    events_.back().end_target = end;
  else
    events_.push_back({LedgerEvent::Kind::scored, first, end, updates_, 0, 0, {}});
  return {};
}

Status Ledger::record_update(std::int64_t first, std::int64_t end, std::int64_t length, double learning_rate) {
  if (first >= end || !all_scored(first, end))
    return internal_error("targets " + range_text(first, end) + " would be learnt from before they are scored");
  events_.push_back({LedgerEvent::Kind::learnt, first, end, updates_++, length, learning_rate, {}});
  return {};
}

void Ledger::record_reset() { events_.push_back({LedgerEvent::Kind::reset, 0, 0, updates_, 0, 0, {}}); }

void Ledger::record_content(const Digest& content) {
  events_.push_back({LedgerEvent::Kind::content, 0, 0, updates_, 0, 0, content});
}

}  // namespace par5
