// The audit of an artifact, a run folder or a submission folder against a rule set. Every rule is answered pass, fail,
// unknown, manual or not applicable, with its evidence.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "budgets/records/located.h"
#include "budgets/rules.h"
#include "budgets/size_ledger.h"
#include "core/error.h"
#include "core/verdict.h"

namespace par5 {

enum class Answer { pass, fail, unknown, manual, not_applicable };
std::string_view answer_name(Answer answer);  // "pass", …, "not_applicable"

struct RuleCheck {
  std::string id;     // "S1"
  std::string title;  // the rule in one line
  Answer answer = Answer::unknown;
  bool required = false;
  std::string evidence;       // what was found, in a sentence or two; what the check cannot see
  std::vector<Place> places;  // where
};

struct AuditRequest {
  std::string target;                   // a .par5 file, another archive, a run folder, a submission folder
  std::vector<std::string> code;        // files that are shipped with an artifact
  std::string tokenizer;                // shipped beside it; or empty
  std::optional<bool> count_tokenizer;  // overrides the rule set
  std::string source;                   // source tree of par5, for its own runs; empty: not known
  std::string program;                  // the program whose binary would be shipped; empty: not known
  std::size_t threads = 0;
};

struct AuditReport {
  std::string target_kind;  // "artifact", "run", "submission"
  Verdict verdict = Verdict::unknown;
  SizeLedger sizes;
  std::vector<RuleCheck> checks;

  const RuleCheck* find(const std::string& id) const;
};

// fail if any rule that is asked fails, else unknown if a required one is unknown, else pass. Manual rules stay
// outside.
Verdict overall(const std::vector<RuleCheck>& checks);

struct AuditSubject;
// The answers to all rules about a target that has been read.
AuditReport audit_subject(const AuditSubject& subject);
// A target that cannot be read is an error; one that breaks rules is a report.
Result<AuditReport> audit(const AuditRequest& request, const RuleSet& rules);

}  // namespace par5
