// Rule sets: what counts against which cap. Built-in ones come from budgets/rules/*.toml; any TOML file with the same keys
// serves as well.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/error.h"

namespace par5 {

struct RuleSet {
  std::string name;   // "minigolf", or the path of a user's file
  std::string title;
  std::uint64_t cap_bytes = 0;
  bool count_code = false;
  bool count_tokenizer = false;
};

// A built-in rule set by name, or a TOML file by path (a name that holds '/' or ends in ".toml"). Unknown names and keys
// are usage errors with a suggestion.
Result<RuleSet> load_rules(const std::string& name_or_path);
std::vector<std::string> rule_names();

}  // namespace par5
