// The audit as JSON: what `par5 audit --json` prints and what a submission folder keeps as audit.json.
#pragma once

#include <nlohmann/json.hpp>

#include "budgets/audit.h"

namespace par5 {

// Keys: target_kind, rules, verdict, total_bytes, cap_bytes, margin_bytes, parts[], ways[], seeds[], tokenizer_bytes,
// streams[], checks[] {id, title, verdict, required, evidence, places[]}.
nlohmann::ordered_json audit_json(const AuditReport& report, const RuleSet& rules);

}  // namespace par5
