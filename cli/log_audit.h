// `par5 audit --log`: the screen of logs and submission.json files.
#pragma once

#include <string>

#include "budgets/log_audit.h"
#include "cli/command.h"

namespace par5 {

void add_log_audit_options(CLI::App& app, LogAuditRequest& request);
// Exit status 0 on pass; on unknown where `allow_unknown`.
Result<Outcome> run_log_audit(const LogAuditRequest& request, const RuleSet& rules, bool allow_unknown);

}  // namespace par5
