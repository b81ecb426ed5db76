#include "budgets/records/registry.h"

#include <toml++/toml.h>

#include <cmath>

#include "budgets/records/builtin_registry.h"
#include "core/file.h"
#include "core/text.h"

namespace par5 {
namespace {

std::optional<std::int64_t> integer(const toml::table& table, const char* key) {
  return table[key].value<std::int64_t>();
}

template <class Read>
void each(const toml::table& table, const char* key, Read&& read) {
  if (const toml::array* entries = table[key].as_array())
    for (const toml::node& node : *entries)
      if (const toml::table* entry = node.as_table()) read(*entry);
}

}  // namespace

Result<Registry> parse_registry(std::string_view text, const std::string& path) {
  toml::table table;
  try {
    table = toml::parse(text, path);
  } catch (const toml::parse_error& error) {
    return bad_data("the registry '" + path + "' is not valid TOML: " + std::string(error.description()), path);
  }
  Registry registry;
  if (const toml::table* validation = table["validation"].as_table()) {
    registry.validation_name = (*validation)["name"].value_or("");
    registry.documents = (*validation)["documents"].value_or(std::int64_t{0});
    registry.charged_bytes = (*validation)["charged_bytes"].value_or(std::int64_t{0});
  }
  bool complete = registry.documents > 0 && registry.charged_bytes > 0;
  each(table, "tokenizer", [&](const toml::table& entry) {
    KnownTokenizer known{entry["name"].value_or(""),
                         entry["vocabulary"].value_or(std::int64_t{0}),
                         entry["bytes_per_token"].value_or(0.0),
                         entry["uncertainty"].value_or(0.0),
                         integer(entry, "tokens"),
                         integer(entry, "scored"),
                         integer(entry, "charged_bytes"),
                         integer(entry, "scored_bytes"),
                         integer(entry, "leading_space_tokens"),
                         integer(entry, "byte_tokens"),
                         entry["note"].value_or("")};
    complete = complete && !known.name.empty() && known.vocabulary > 0 && known.bytes_per_token > 0;
    registry.tokenizers.push_back(std::move(known));
  });
  each(table, "denominator", [&](const toml::table& entry) {
    KnownDenominator known{entry["bytes"].value_or(std::int64_t{0}), entry["name"].value_or(""),
                           entry["fault"].value_or(false)};
    complete = complete && known.bytes > 0 && !known.name.empty();
    registry.denominators.push_back(std::move(known));
  });
  each(table, "fault", [&](const toml::table& entry) {
    KnownFault known{entry["name"].value_or(""), entry["from"].value_or(0.0), entry["to"].value_or(0.0)};
    complete = complete && !known.name.empty() && known.from > 0 && known.to > known.from;
    registry.faults.push_back(std::move(known));
  });
  each(table, "split", [&](const toml::table& entry) {
    registry.splits.push_back({entry["name"].value_or(""), integer(entry, "scored"), integer(entry, "documents"),
                               integer(entry, "vocabulary"), entry["bytes_per_token"].value_or(0.0)});
  });
  if (!complete) return bad_data("the registry '" + path + "' has an entry without its name or numbers", path);
  return registry;
}

Result<Registry> read_registry(const std::string& path) {
  P5_TRY(const std::string text, read_text_file(path, std::uint64_t{1} << 24));
  return parse_registry(text, path);
}

Result<Registry> load_registry() {
  Registry whole;
  for (const auto& [name, text] : builtin_registry()) {
    P5_TRY(Registry part, parse_registry(text, std::string(name)));
    if (whole.tokenizers.empty())
      whole = std::move(part);
    else
      whole.tokenizers.insert(whole.tokenizers.end(), part.tokenizers.begin(), part.tokenizers.end());
  }
  return whole;
}

const KnownTokenizer* Registry::nearest(double bytes_per_token) const {
  const KnownTokenizer* best = nullptr;
  double distance = 0;
  for (const KnownTokenizer& known : tokenizers) {
    const double here = std::abs(std::log(bytes_per_token / known.bytes_per_token));
    if (best && here >= distance) continue;
    best = &known;
    distance = here;
  }
  return best;
}

const KnownDenominator* Registry::exact(std::int64_t bytes) const {
  for (const KnownDenominator& known : denominators)
    if (known.bytes == bytes) return &known;
  return nullptr;
}

std::vector<std::string> Registry::denominators_between(double lowest, double highest) const {
  std::vector<std::string> names;
  for (const KnownDenominator& known : denominators)
    if (static_cast<double>(known.bytes) >= lowest && static_cast<double>(known.bytes) <= highest)
      names.push_back(grouped(known.bytes) + ": " + known.name);
  return names;
}

const KnownFault* Registry::fault(double factor) const {
  for (const KnownFault& known : faults)
    if (factor >= known.from && factor <= known.to) return &known;
  return nullptr;
}

}  // namespace par5
