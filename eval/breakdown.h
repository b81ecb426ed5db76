// A score taken apart: by document, by position in the window, by token. What it says adds up: scores are whole numbers
// of 2^-22 bits, so that the bits of the rows sum to the mode's bits exactly, in doubles and in any order.
#pragma once

#include <cstdint>
#include <functional>
#include <nlohmann/json.hpp>
#include <string_view>
#include <vector>

#include "eval/score.h"

namespace par5 {

enum class BreakdownKind { document, position, token };
Result<BreakdownKind> breakdown_kind(std::string_view name);

struct BreakdownRow {
  std::int64_t document = 0;      // from 0; a BOS belongs to the document that it ends
  std::int64_t position = 0;      // in the window, from 0: the target's context is position + 1 tokens
  std::int64_t first_target = 0;  // id of the first target that the row holds
  std::uint16_t token = 0;        // piece id of the target
  std::int64_t targets = 0;
  std::int64_t bytes = 0;   // charged
  std::uint64_t units = 0;  // of 2^-22 bits

  double bits() const { return ledger_bits(units); }
  double nats() const { return ledger_nats(units); }
};

// Hands the rows of a mode to `sink`, ascending by document, position or target. Fields that a kind does not have keep
// their defaults. A stream (sliding~stream) has no windows: by position it is a usage error.
Status break_down(const ScoreRow& row, const EvalData& data, BreakdownKind kind,
                  const std::function<Status(const BreakdownRow&)>& sink);

// {"by": "document", "document": […], "targets": […], …}: a list for each column, all of the same length.
Result<nlohmann::ordered_json> breakdown_json(const ScoreRow& row, const EvalData& data, BreakdownKind kind);

// The same columns behind a column `mode`, for all rows, with a header; in pieces of some 100 kB.
Status breakdown_csv(const std::vector<ScoreRow>& rows, const EvalData& data, BreakdownKind kind,
                     const std::function<Status(std::string_view)>& sink);

}  // namespace par5
