// The audit of what would be shipped, against a rule set. Every rule is answered pass, fail or unknown, with evidence.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "budgets/rules.h"
#include "core/error.h"
#include "core/verdict.h"

namespace par5 {

// One line of what is shipped. Bytes that do not count are shown all the same.
struct CountedPart {
  std::string what;  // "artifact without tokenizer", "tokenizer", "code main.cpp"
  std::uint64_t bytes = 0;
  bool counted = false;
};

struct AuditReport {
  Verdict verdict = Verdict::unknown;  // fail if any check fails, else unknown if any is unknown, else pass
  std::vector<CountedPart> parts;
  std::uint64_t total_bytes = 0;       // counted parts
  std::vector<AuditCheck> checks;
};

struct AuditInput {
  std::string artifact;                // path of a .par5 file
  std::vector<std::string> code;       // files that are shipped with it
  std::string tokenizer;               // path of a tokenizer that is shipped beside the artifact, or empty
  std::optional<bool> count_tokenizer; // overrides the rule set
};

// Checks: artifact_decodes, size_is_explained (sections sum to the file), size_cap, code_counted, tokenizer_counted.
// A file that cannot be read is an error; one that does not decode is a failed check.
Result<AuditReport> audit(const AuditInput& input, const RuleSet& rules, std::size_t threads);

}  // namespace par5
