// `par5 audit --ledger`: the offline audit of a score ledger.
#pragma once

#include <string>

#include "cli/command.h"

namespace par5 {

struct LedgerAuditOptions {
  std::string file;
  std::string head;
};

void add_ledger_audit_options(CLI::App& app, LedgerAuditOptions& options);
Result<Outcome> run_ledger_audit(const LedgerAuditOptions& options, const CommonOptions& common);

}  // namespace par5
