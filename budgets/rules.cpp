#include "budgets/rules.h"

#include <toml++/toml.h>

#include <algorithm>
#include <sstream>

#include "budgets/builtin_rules.h"
#include "core/file.h"
#include "core/text.h"

namespace par5 {
namespace {

bool holds(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

// Reads the keys of one table; every key that was not asked for is an error in the end.
class Section {
 public:
  Section(const toml::table& whole, std::string name, const std::string& rules)
      : name_(std::move(name)), rules_(rules) {
    table_ = name_.empty() ? &whole : whole[name_].as_table();
  }

  template <class T>
  void read(const char* key, T& into, bool required = false) {
    if (auto value = take<T>(key))
      into = *value;
    else if (required && !failure_)
      fail("the rule set '" + rules_ + "' needs " + path(key), path(key));
  }
  template <class T>
  void read(const char* key, std::optional<T>& into) {
    if (auto value = take<T>(key)) into = *value;
  }
  void read(const char* key, std::vector<std::string>& into) {
    known_.push_back(key);
    if (!table_ || !table_->contains(key)) return;
    const toml::array* list = (*table_)[key].as_array();
    into.clear();
    for (std::size_t i = 0; list && i < list->size(); ++i)
      if (const auto text = (*list)[i].value<std::string>()) into.push_back(*text);
    if (!list || into.size() != list->size())
      fail(path(key) + " in the rule set '" + rules_ + "' must be a list of texts", path(key));
  }
  void one_of(const char* key, std::string& into, const std::vector<std::string>& choices) {
    read(key, into);
    if (!holds(choices, into))
      fail(path(key) + " in the rule set '" + rules_ + "' must be one of " + join(choices, ", "), path(key));
  }

  Status finish(const std::vector<std::string>& sections = {}) {
    std::vector<std::string> known = known_;
    known.insert(known.end(), sections.begin(), sections.end());
    for (const auto& [key, value] : table_ ? *table_ : toml::table()) {
      if (holds(known, std::string(key.str()))) continue;
      const std::string near = nearest_name(key.str(), known);
      return usage_error("unknown key '" + path(std::string(key.str())) + "' in the rule set '" + rules_ + "'" +
                             (near.empty() ? "" : "; did you mean '" + path(near) + "'?"),
                         path(std::string(key.str())));
    }
    if (failure_) return tl::unexpected(*failure_);
    return {};
  }

 private:
  std::string path(const std::string& key) const { return name_.empty() ? key : name_ + "." + key; }
  void fail(const std::string& message, const std::string& key) {
    if (!failure_) failure_ = usage_error(message, key).value();
  }
  template <class T>
  std::optional<T> take(const char* key) {
    known_.push_back(key);
    if (!table_ || !table_->contains(key)) return std::nullopt;
    auto value = (*table_)[key].template value_exact<T>();
    if constexpr (std::is_same_v<T, double>)
      if (!value)
        if (const auto whole = (*table_)[key].template value_exact<std::int64_t>()) value = static_cast<double>(*whole);
    if (!value) fail(path(key) + " in the rule set '" + rules_ + "' has the wrong type", path(key));
    return value;
  }

  std::string name_;
  const std::string& rules_;
  const toml::table* table_ = nullptr;
  std::vector<std::string> known_;
  std::optional<Error> failure_;
};

Status check_ids(const std::vector<std::string>& ids, const std::string& rules) {
  std::vector<std::string> known;
  for (const RuleTitle& rule : all_rules()) known.emplace_back(rule.id);
  for (const std::string& id : ids) {
    if (holds(known, id)) continue;
    return usage_error("there is no rule '" + id + "' (in the rule set '" + rules + "'); known: " + join(known, ", "),
                       "rules");
  }
  return {};
}

Result<RuleSet> parse_rules(std::string_view text, const std::string& name) {
  toml::table table;
  try {
    table = toml::parse(text, name);
  } catch (const toml::parse_error& error) {
    std::ostringstream place;
    place << error.source().begin;
    return bad_data(
        "the rule set '" + name + "' is not valid TOML: " + std::string(error.description()) + " at " + place.str(),
        name);
  }
  RuleSet rules;
  rules.name = rules.title = name;
  std::int64_t cap = 0, runs = 1;

  Section top(table, "", name);
  top.read("title", rules.title);
  top.read("cap_bytes", cap, true);
  top.read("count_code", rules.count_code, true);
  top.read("count_tokenizer", rules.count_tokenizer, true);
  top.read("count_helpers", rules.count_helpers);
  P5_OK(top.finish({"code", "time", "validation", "significance", "files", "rules"}));
  if (cap <= 0)
    return usage_error("the rule set '" + name + "' needs cap_bytes, a positive number of bytes", "cap_bytes");
  rules.cap_bytes = static_cast<std::uint64_t>(cap);

  Section code(table, "code", name);
  code.one_of("verdict", rules.code_verdict, {"shipped", "raw", "wrapped"});
  code.one_of("own_verdict", rules.own_code_verdict, {"raw", "xz", "binary"});
  code.read("base_packages", rules.base_packages);
  P5_OK(code.finish());

  Section time(table, "time", name);
  time.read("train_seconds", rules.train_seconds);
  time.read("eval_seconds", rules.eval_seconds);
  time.read("tolerance_seconds", rules.tolerance_seconds);
  time.read("hardware", rules.hardware);
  P5_OK(time.finish());

  Section validation(table, "validation", name);
  validation.read("documents", rules.documents);
  validation.read("registry", rules.use_registry);
  validation.read("charged_bytes", rules.validation_bytes);
  P5_OK(validation.finish());

  Section significance(table, "significance", name);
  significance.read("margin_nats", rules.margin_nats);
  significance.one_of("unit", rules.margin_unit, {"token", "byte"});
  significance.read("p_value", rules.p_value);
  significance.read("frontier_p_value", rules.frontier_p_value);
  significance.read("runs", runs);
  P5_OK(significance.finish());
  rules.runs = static_cast<int>(std::clamp<std::int64_t>(runs, 1, 1000));

  Section files(table, "files", name);
  files.read("required", rules.required_files);
  P5_OK(files.finish());
  static const std::vector<std::string> kinds = {"readme", "submission", "log", "script", "artifact"};
  for (const std::string& kind : rules.required_files)
    if (!holds(kinds, kind))
      return usage_error(
          "files.required in the rule set '" + name + "' knows " + join(kinds, ", ") + ", not '" + kind + "'",
          "files.required");

  // A rule set that names no rules asks for what concerns the size.
  rules.required = {"artifact_decodes", "size_is_explained", "S1", "S3"};
  Section asked(table, "rules", name);
  asked.read("required", rules.required);
  asked.read("optional", rules.optional);
  asked.read("manual", rules.manual);
  P5_OK(asked.finish());
  for (const auto* ids : {&rules.required, &rules.optional, &rules.manual}) P5_OK(check_ids(*ids, name));
  return rules;
}

}  // namespace

bool RuleSet::asks(const std::string& id) const { return is_required(id) || holds(optional, id); }
bool RuleSet::is_required(const std::string& id) const { return holds(required, id); }
bool RuleSet::is_manual(const std::string& id) const { return holds(manual, id); }

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
  return usage_error("there is no rule set '" + name_or_path + "'" +
                         (near.empty() ? "" : "; did you mean '" + near + "'?") +
                         " Known: " + join(rule_names(), ", ") + "; or name a .toml file",
                     "--rules");
}

const std::vector<RuleTitle>& all_rules() {
  static const std::vector<RuleTitle> rules = {
      {"artifact_decodes", "the artifact decodes, all checksums hold"},
      {"size_is_explained", "every byte of the artifact belongs to a named section or stream"},
      {"S1", "what counts is at most the cap"},
      {"S2", "all code that runs is counted"},
      {"S3", "the tokenizer is counted as the rules say; both totals shown"},
      {"S4", "imported packages smuggle no compute, capability or code"},
      {"S5", "evaluation is self-contained: no network, no training data"},
      {"T1", "training takes no longer than allowed"},
      {"T2", "calibration counts as training time and uses training data only there"},
      {"E1", "evaluation takes no longer than allowed, the whole process"},
      {"E3", "the whole validation set is scored"},
      {"V1", "no validation data in training or in the artifact"},
      {"V2", "what is learnt at test time comes from tokens already scored"},
      {"C1", "each probability depends on the artifact and earlier tokens only"},
      {"C2", "each probability is of one full, normalised distribution"},
      {"C3", "every target is scored before anything learns from it"},
      {"C4", "every target is scored exactly once, in one pass"},
      {"K1", "the bytes that scores are divided by are those of the text"},
      {"P1", "the gain over the previous record is significant"},
      {"P2", "enough runs of one configuration, with their logs"},
      {"P3", "no seed was searched for"},
      {"F1", "one folder, one submission"},
      {"F2", "the files that a submission needs are there and can be read"},
      {"F3", "every package and program that is used is declared"},
      {"F4", "an unlimited-compute submission says so"},
  };
  return rules;
}

}  // namespace par5
