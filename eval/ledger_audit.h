// The offline audit of a ledger's file: no model, no data. docs/ledger.md says what each check proves.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/verdict.h"
#include "eval/ledger_format.h"

namespace par5 {

struct LedgerAudit {
  Verdict verdict = Verdict::unknown;
  // format, chain, coverage, order, states, sums, sealed; and head where a published hash was given.
  std::vector<AuditCheck> checks;
  std::string first_violation;  // in the order of the file; empty: none
  std::optional<LedgerDeclaration> declaration;
  LedgerClaim found;  // summed from the blocks
  std::int64_t blocks = 0;
  std::int64_t learnt_targets = 0;  // over all updates
  bool sealed = false;
  std::string head;  // last link that holds, in hexadecimal
  std::uint64_t file_bytes = 0;
};

// `published_head`: the hash that was published with the claim, in hexadecimal; empty: none. Whatever the bytes are,
// the answer is an audit; where they are no ledger at all, a failed one.
LedgerAudit audit_ledger(std::span<const std::byte> bytes, const std::string& published_head);

// What a passed audit proves, and what it does not, as sentences.
std::vector<std::string> ledger_audit_proves(const LedgerAudit& audit);
std::vector<std::string> ledger_audit_leaves_open(const LedgerAudit& audit);

}  // namespace par5
