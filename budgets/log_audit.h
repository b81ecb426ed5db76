// A screen of what people write about a run: training logs and submission.json files, alone or as record folders. It
// needs neither model nor data, only printed numbers; so it can find that they contradict each other or what is known,
// and can never show that they are true.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "budgets/denominator.h"
#include "budgets/records/record_folder.h"
#include "budgets/rules.h"
#include "core/error.h"
#include "core/verdict.h"

namespace par5 {

struct LogAuditRequest {
  std::vector<std::string> paths;  // folders, each a record of its own; files, together one more
  std::string registry;            // TOML file in place of the built-in one; or empty
};

enum class Severity { warning, error };

// ids: unparsable_json, no_val_bpb, denominator_outlier, denominator_fine, denominator_mixed, partial_documents,
// size_over_cap, headline_not_seed_mean, headline_is_best_seed, single_seed, train_time_over, eval_time_over.
struct LogFinding {
  std::string id;
  Severity severity = Severity::warning;
  Place where;
  std::string evidence;
};
// What could not be read or compared, and what is worth knowing without being a finding.
struct LogNote {
  Place where;
  std::string text;
};

// The result of one run.
struct LogScore {
  std::string seed;  // empty: not known
  Place where;
  std::optional<PrintedNumber> bpb, loss;
  std::optional<Denominator> denominator;
  std::optional<std::int64_t> targets, bytes;  // as printed
};

struct LogAudit {
  // fail: a finding of severity error. unknown: warnings, several known tokenizers that fit, or nothing to solve a
  // denominator from. pass: none of these.
  Verdict verdict = Verdict::unknown;
  std::vector<LogFinding> findings;
  std::vector<LogNote> notes;
  std::vector<LogScore> scores;
  // Of the scores' denominators the one with the narrowest interval, and what it matches.
  std::optional<Denominator> denominator;
  Place denominator_place;
  std::string denominator_text;    // what it matches, in one sentence
  std::vector<std::string> known;  // tokenizers within 0.1 %
  std::optional<KnownTokenizer> nearest;
  std::optional<std::int64_t> targets;   // that belong to the denominator
  std::vector<std::string> known_bytes;  // totals of the registry that denominator · targets leaves
};

// Cap, time limits and tolerance are those of `rules`. A path that is not there is an io error; whatever is in the
// files, the answer is an audit.
Result<LogAudit> audit_logs(const LogAuditRequest& request, const RuleSet& rules);

}  // namespace par5
