// An audit for people: the ledger of sizes, the ways of counting, every rule with its answer and evidence.
#pragma once

#include <string>

#include "budgets/audit.h"

namespace par5 {

// `streams`: also one line for each stream inside the artifacts; rules that do not apply are counted, and listed with
// `all`.
std::string audit_text(const AuditReport& report, const RuleSet& rules, bool streams, bool all);

}  // namespace par5
