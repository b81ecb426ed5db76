#include "budgets/rules.h"

#include <algorithm>
#include <sstream>
#include <toml++/toml.h>

#include "budgets/builtin_rules.h"
#include "core/file.h"
#include "core/text.h"

namespace par5 {
namespace {

Result<RuleSet> parse_rules(std::string_view text, const std::string& name) {
  toml::table table;
  try {
    table = toml::parse(text, name);
  } catch (const toml::parse_error& error) {
    std::ostringstream place;
    place << error.source().begin;
    return bad_data("the rule set '" + name + "' is not valid TOML: " + std::string(error.description()) + " at " + place.str(), name);
  }
  static const std::vector<std::string> known = {"title", "cap_bytes", "count_code", "count_tokenizer"};
  for (const auto& [key, value] : table) {
    if (std::find(known.begin(), known.end(), key.str()) != known.end()) continue;
    const std::string near = nearest_name(key.str(), known);
    return usage_error("unknown key '" + std::string(key.str()) + "' in the rule set '" + name + "'" +
                           (near.empty() ? "" : "; did you mean '" + near + "'?"), std::string(key.str()));
  }
  const auto cap = table["cap_bytes"].value<std::int64_t>();
  const auto code = table["count_code"].value<bool>();
  const auto tokenizer = table["count_tokenizer"].value<bool>();
  if (!cap || *cap <= 0) return usage_error("the rule set '" + name + "' needs cap_bytes, a positive number of bytes", "cap_bytes");
  if (!code || !tokenizer)
    return usage_error("the rule set '" + name + "' must say whether code and tokenizer count (true or false)",
                       code ? "count_tokenizer" : "count_code");
  return RuleSet{name, table["title"].value_or(name), static_cast<std::uint64_t>(*cap), *code, *tokenizer};
}

}  // namespace

std::vector<std::string> rule_names() {
  std::vector<std::string> names;
  for (const auto& [name, text] : builtin_rules()) names.emplace_back(name);
  return names;
}

Result<RuleSet> load_rules(const std::string& name_or_path) {
  for (const auto& [name, text] : builtin_rules())
    if (name == name_or_path) return parse_rules(text, name_or_path);
  if (name_or_path.find('/') != std::string::npos || name_or_path.ends_with(".toml")) {
    P5_TRY(const std::string text, read_text_file(name_or_path, 1 << 20));
    return parse_rules(text, name_or_path);
  }
  const std::string near = nearest_name(name_or_path, rule_names());
  return usage_error("there is no rule set '" + name_or_path + "'" + (near.empty() ? "" : "; did you mean '" + near + "'?") +
                     " Known: " + join(rule_names(), ", ") + "; or name a .toml file", "--rules");
}

}  // namespace par5
