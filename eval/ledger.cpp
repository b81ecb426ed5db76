#include "eval/ledger.h"

#include <algorithm>
#include <cmath>
#include <string>

namespace par5 {
namespace {

constexpr float kNotScored = -1.0f;

std::string range_text(std::int64_t first, std::int64_t end) {
  return "[" + std::to_string(first) + ", " + std::to_string(end) + ")";
}

}  // namespace

Ledger::Ledger(std::int64_t targets) : nats_(static_cast<std::size_t>(targets) + 1, kNotScored) {}

bool Ledger::all_scored(std::int64_t first, std::int64_t end) const {
  if (first >= end) return true;
  if (first < 1 || end > targets() + 1) return false;
  return std::all_of(nats_.begin() + first, nats_.begin() + end, [](float nats) { return nats >= 0; });
}

bool Ledger::any_scored(std::int64_t first, std::int64_t end) const {
  first = std::max<std::int64_t>(first, 1);
  end = std::clamp(end, first, targets() + 1);
  return std::any_of(nats_.begin() + first, nats_.begin() + end, [](float nats) { return nats >= 0; });
}

Status Ledger::record_scores(std::int64_t first, std::span<const float> nats) {
  const std::int64_t end = first + static_cast<std::int64_t>(nats.size());
  if (first < 1 || end > targets() + 1)
    return internal_error("targets " + range_text(first, end) + " are outside 1 … " + std::to_string(targets()));
  if (any_scored(first, end)) return internal_error("a target in " + range_text(first, end) + " would be scored twice");
  for (std::size_t i = 0; i < nats.size(); ++i)
    if (!(nats[i] >= 0) || !std::isfinite(nats[i]))
      return bad_data("the model gives target " + std::to_string(first + static_cast<std::int64_t>(i)) +
                      " no usable probability (" + std::to_string(nats[i]) + " nats)");
  std::copy(nats.begin(), nats.end(), nats_.begin() + first);
  scored_ += end - first;
  if (!events_.empty() && events_.back().kind == LedgerEvent::Kind::scored && events_.back().end_target == first)
    events_.back().end_target = end;
  else
    events_.push_back({LedgerEvent::Kind::scored, first, end, updates_, 0});
  return {};
}

Status Ledger::record_update(std::int64_t first, std::int64_t end, double learning_rate) {
  if (first >= end || !all_scored(first, end))
    return internal_error("targets " + range_text(first, end) + " would be learnt from before they are scored");
  events_.push_back({LedgerEvent::Kind::learnt, first, end, updates_++, learning_rate});
  return {};
}

}  // namespace par5
