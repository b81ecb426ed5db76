// `par5 audit --ledger`: the offline audit of a score ledger, and with the model some of its blocks scored anew.
#pragma once

#include <string>
#include <vector>

#include "cli/command.h"

namespace par5 {

struct LedgerAuditOptions {
  std::string file;
  std::string head;
  std::string model, data;  // to score blocks anew; or empty
  std::string config;       // of the evaluation, and of a checkpoint without a configuration
  std::vector<std::string> assignments;
  std::int64_t sample = 4;       // blocks
  std::int64_t max_targets = 0;  // blocks are drawn among the first so many targets; 0: all
  std::uint64_t seed = 1;
};

void add_ledger_audit_options(CLI::App& app, LedgerAuditOptions& options);
// `tokenizer`: for text where the model's file holds none; or empty.
Result<Outcome> run_ledger_audit(const LedgerAuditOptions& options, const std::string& tokenizer, const CommonOptions& common);

}  // namespace par5
