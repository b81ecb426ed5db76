// What `par5 eval` prints about its rows, for scripts and for people.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "eval/score.h"

namespace par5 {

// The keys of DESIGN.md §7 for one row, and what else is known of it. ledger_sha256 is null where no ledger
// was written.
nlohmann::ordered_json row_json(const ScoreRow& row);
// One row: its keys. Several: `rows[]`, each with its difference in bpb to the row that it is compared `against`, and
// the interval of that by document (eval/paired.h). A mode that learns is compared with its own arm at learning rate 0
// where that is among the rows; any other row with the first.
nlohmann::ordered_json eval_json(const std::vector<ScoreRow>& rows, const EvalData& data);
// A table with 8 digits; with several rows the same comparisons, and what the windows gain and what the learning does.
std::string eval_text(const std::vector<ScoreRow>& rows, const EvalData& data);

}  // namespace par5
