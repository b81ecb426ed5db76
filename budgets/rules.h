// Rule sets: what counts against which cap, what a run may take, what a submission must hold and which rules are asked.
// Built-in ones come from budgets/rules/*.toml; any TOML file with the same keys serves as well.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/error.h"

namespace par5 {

struct RuleSet {
  std::string name;  // "minigolf", or the path of a user's file
  std::string title;
  std::uint64_t cap_bytes = 0;
  bool count_code = false;
  bool count_tokenizer = false;
  bool count_helpers = true;  // where code counts

  std::string code_verdict = "shipped";    // shipped | raw | wrapped: which count of a script decides
  std::string own_code_verdict = "raw";    // raw | xz | binary: which count of par5's own source closure decides
  std::vector<std::string> base_packages;  // need no declaration

  std::optional<double> train_seconds, eval_seconds;
  double tolerance_seconds = 0;
  std::string hardware;

  std::optional<std::int64_t> documents;         // of the validation set
  bool use_registry = false;                     // its counts are those of the built-in registry
  std::optional<std::int64_t> validation_bytes;  // charged, of a user's own set

  std::optional<double> margin_nats;  // a record's gain
  std::string margin_unit = "token";  // token | byte
  double p_value = 0.01;
  std::optional<double> frontier_p_value;
  int runs = 1;

  std::vector<std::string> required_files;              // kinds: readme | submission | log | script | artifact
  std::vector<std::string> required, optional, manual;  // rule ids; the rest does not apply

  bool asks(const std::string& id) const;  // required or optional
  bool is_required(const std::string& id) const;
  bool is_manual(const std::string& id) const;
};

// A built-in rule set by name, or a TOML file by path (a name that holds '/' or ends in ".toml"). Unknown names, keys
// and rule ids are usage errors with a suggestion.
Result<RuleSet> load_rules(const std::string& name_or_path);
std::vector<std::string> rule_names();

// Every rule that an audit can answer, in the order of reports: "S1" and its one-line text.
struct RuleTitle {
  const char* id;
  const char* title;
};
const std::vector<RuleTitle>& all_rules();

}  // namespace par5
