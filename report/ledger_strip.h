// What a score ledger shows at a glance: where in the text the bits went, and where the model learnt.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/error.h"
#include "eval/ledger_format.h"

namespace par5 {

// Neighbouring targets, drawn as one field.
struct LedgerCell {
  std::int64_t first_target = 0, end_target = 0;  // [first, end)
  std::uint64_t units = 0;                        // 2^-22 bits, of the targets that have a score
  std::int64_t bytes = 0;                         // charged
  std::int64_t updates = 0;                       // made while the last scored target lay here
};

struct LedgerStrip {
  std::string name;  // last part of the path
  LedgerDeclaration declaration;
  LedgerClaim found;                           // summed from the blocks
  std::string verdict, first_violation, head;  // of the offline audit
  std::vector<LedgerCell> cells;               // in the order of the text, at most 240
};

// Audits the ledger offline and sums its scores by place. bad_data where the file is no ledger at all; a damaged one is
// shown up to where it can be read.
Result<LedgerStrip> read_ledger_strip(const std::string& path);

// Whether the file begins as a ledger does.
bool is_ledger(const std::string& path);

}  // namespace par5
