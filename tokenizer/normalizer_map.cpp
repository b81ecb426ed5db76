#include "tokenizer/normalizer_map.h"

#include <sentencepiece_trainer.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <map>
#include <mutex>

#include "core/file.h"
#include "core/hash.h"
#include "core/protobuf.h"
#include "core/text.h"

namespace par5 {
namespace {

// SentencePiece's limit on rules that are prefixes of one another (kMaxTrieResultsSize).
constexpr int kMaxNestedRules = 32;
constexpr int kMaxRuleBytes = 1024;

class OneLine : public sentencepiece::SentenceIterator {
 public:
  bool done() const override { return done_; }
  void Next() override { done_ = true; }
  const std::string& value() const override { return line_; }
  sentencepiece::util::Status status() const override { return {}; }

 private:
  std::string line_ = "a";
  bool done_ = false;
};

// The library exports its maps only inside models that it trains, so a one-letter model is trained for its map:
// `option` says which, "normalization_rule_name" or "normalization_rule_tsv".
Result<BuiltinMap> extract_map(const std::string& option, const std::string& name) {
  OneLine text;
  std::string model;
  const auto status = sentencepiece::SentencePieceTrainer::Train(
      {{"model_type", "char"}, {"vocab_size", "8"}, {option, name}, {"num_threads", "1"}, {"minloglevel", "3"}}, &text,
      &model);
  if (!status.ok()) return internal_error("SentencePiece has no normaliser '" + name + "': " + status.error_message());
  ProtobufField field, inner;
  for (ProtobufReader reader(model);;) {
    P5_TRY(const bool more, reader.next(field));
    if (!more) return internal_error("SentencePiece gave a model without the normaliser '" + name + "'");
    if (field.number != 3) continue;
    for (ProtobufReader spec(field.bytes);;) {
      P5_TRY(const bool has, spec.next(inner));
      if (!has) break;
      if (inner.number == 2)
        return BuiltinMap{std::string(inner.bytes), sha256_hex(std::as_bytes(std::span(inner.bytes)))};
    }
  }
}

// One unit of a Darts-clone double array: a label in the low byte (with bit 31 on values, which no byte equals), a
// leaf flag in bit 8, and the offset to the children.
struct Unit {
  std::uint32_t bits;
  bool has_leaf() const { return bits >> 8 & 1; }
  std::uint32_t label() const { return bits & (0x80000000u | 0xff); }
  std::uint32_t value() const { return bits & 0x7fffffff; }
  std::uint32_t offset() const { return (bits >> 10) << ((bits & (1u << 9)) >> 6); }
};

// Depth first over all nodes reachable. Darts-clone shares equal tails, so the array is an acyclic graph, not a tree:
// each node is visited once and keeps how many rules lie on the longest way down from it.
struct TrieWalk {
  struct Reach {
    enum { unseen, open, done } state = unseen;
    int rules = 0;  // on the longest way down
  };
  const std::vector<Unit>& units;
  std::string_view strings;
  std::vector<Reach> reach;

  // What is wrong at or below `node`, or an empty string.
  std::string visit(std::uint32_t node, int depth) {
    if (depth > kMaxRuleBytes) return "has a rule longer than 1024 bytes";
    reach[node].state = Reach::open;
    int rules = 0;
    const std::uint32_t base = node ^ units[node].offset();
    if ((base | 0xff) >= units.size()) return "points outside itself";
    for (std::uint32_t label = 0; label < 256; ++label) {
      const std::uint32_t child = base ^ label;
      if (units[child].label() != label) continue;
      if (reach[child].state == Reach::open) return "runs in a circle";
      if (reach[child].state == Reach::unseen)
        if (std::string fault = visit(child, depth + 1); !fault.empty()) return fault;
      rules = std::max(rules, reach[child].rules);
    }
    if (units[node].has_leaf()) {
      const std::uint32_t value = units[base].value();
      if (value >= strings.size()) return "points outside itself";
      if ((static_cast<unsigned char>(strings[value]) & 0xc0) == 0x80) return "points into a character";
      ++rules;
    }
    reach[node] = {Reach::done, rules};
    return {};
  }
};

}  // namespace

const std::vector<std::string>& builtin_normalizers() {
  static const std::vector<std::string> names = {"nmt_nfkc", "nfkc", "nmt_nfkc_cf", "nfkc_cf"};
  return names;
}

Result<const BuiltinMap*> builtin_map(const std::string& name) {
  static std::mutex mutex;
  static std::map<std::string, BuiltinMap> maps;
  if (const auto& names = builtin_normalizers(); std::find(names.begin(), names.end(), name) == names.end())
    return internal_error("'" + name + "' is not a built-in normaliser");
  const std::lock_guard lock(mutex);
  auto found = maps.find(name);
  if (found == maps.end()) {
    P5_TRY(auto map, extract_map("normalization_rule_name", name));
    found = maps.emplace(name, std::move(map)).first;
  }
  return &found->second;
}

Status check_normalizer_map(std::string_view map, const std::string& file) {
  const auto fault = [&](const std::string& what) { return bad_data("the tokenizer's normaliser map " + what, file); };
  std::uint32_t trie_bytes = 0;
  if (map.size() < sizeof trie_bytes) return fault("is too short");
  std::memcpy(&trie_bytes, map.data(), sizeof trie_bytes);
  map.remove_prefix(sizeof trie_bytes);
  if (trie_bytes == 0 || trie_bytes % 4 != 0 || trie_bytes >= map.size()) return fault("has an impossible trie size");
  std::vector<Unit> units(trie_bytes / 4);
  std::memcpy(units.data(), map.data(), trie_bytes);
  const std::string_view strings = map.substr(trie_bytes);
  if (strings.back() != '\0') return fault("does not end its last string");
  if (find_invalid_utf8(strings) != std::string::npos) return fault("holds a string that is not well-formed UTF-8");

  TrieWalk walk{units, strings, std::vector<TrieWalk::Reach>(units.size())};
  if (const std::string what = walk.visit(0, 0); !what.empty()) return fault(what);
  if (walk.reach[0].rules > kMaxNestedRules) return fault("nests more rules than SentencePiece can follow");
  return {};
}

// ---- maps as changes to a built-in one ----

namespace {

using Rules = std::map<std::string, std::string>;
constexpr std::size_t kMostRules = 1 << 20;

// All rules of a map that check_normalizer_map has passed; nothing where there are too many (tails are shared, so
// that a small array may hold any number).
bool collect_rules(const std::vector<Unit>& units, std::string_view strings, std::uint32_t node, std::string& key,
                   Rules& rules) {
  const std::uint32_t base = node ^ units[node].offset();
  if (units[node].has_leaf()) {
    const std::string_view from = strings.substr(units[base].value());
    rules[key] = std::string(from.substr(0, from.find('\0')));
  }
  if (rules.size() > kMostRules) return false;
  for (std::uint32_t label = 1; label < 256; ++label) {
    const std::uint32_t child = base ^ label;
    if (units[child].label() != label) continue;
    key.push_back(static_cast<char>(label));
    if (!collect_rules(units, strings, child, key, rules)) return false;
    key.pop_back();
  }
  return true;
}

Rules rules_of(std::string_view map) {
  std::uint32_t trie_bytes = 0;
  std::memcpy(&trie_bytes, map.data(), sizeof trie_bytes);
  std::vector<Unit> units(trie_bytes / 4);
  std::memcpy(units.data(), map.data() + sizeof trie_bytes, trie_bytes);
  Rules rules;
  std::string key;
  if (!collect_rules(units, map.substr(sizeof trie_bytes + trie_bytes), 0, key, rules)) rules.clear();
  return rules;
}

// Code points in hexadecimal, as SentencePiece's rule files have them. `text` is UTF-8.
void put_code_points(std::string& out, std::string_view text) {
  for (std::size_t i = 0; i < text.size();) {
    const auto lead = static_cast<unsigned char>(text[i]);
    const std::size_t length = lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
    std::uint32_t point = length == 1 ? lead : lead & (0x7fu >> length);
    for (std::size_t k = 1; k < length; ++k) point = point << 6 | (static_cast<unsigned char>(text[i + k]) & 0x3fu);
    char hexadecimal[16];
    std::snprintf(hexadecimal, sizeof hexadecimal, i == 0 ? "%04X" : " %04X", point);
    out += hexadecimal;
    i += length;
  }
}

Result<std::string> compile(const Rules& rules) {
  std::string table;
  for (const auto& [key, value] : rules) {
    put_code_points(table, key);
    table += '\t';
    put_code_points(table, value);
    table += '\n';
  }
  P5_TRY(const TemporaryFolder folder, TemporaryFolder::create());
  const std::string path = join_path(folder.path(), "rules.tsv");
  P5_OK(write_file(path, table, Overwrite::no));
  P5_TRY(BuiltinMap map, extract_map("normalization_rule_tsv", path));
  return std::move(map.map);
}

}  // namespace

Result<std::vector<std::uint8_t>> normalizer_changes(const std::string& builtin_name, std::string_view map) {
  P5_TRY(const BuiltinMap* builtin, builtin_map(builtin_name));
  const Rules from = rules_of(builtin->map), to = rules_of(map);
  std::string text;
  for (const auto& [key, value] : from)
    if (!to.contains(key)) text += key + '\0';
  text += '\0';
  for (const auto& [key, value] : to) {
    const auto known = from.find(key);
    if (known == from.end() || known->second != value) text += key + '\0' + value + '\0';
  }
  const std::vector<std::uint8_t> changes(text.begin(), text.end());
  if (changes.size() >= map.size()) return std::vector<std::uint8_t>{};
  const auto made = changed_map(builtin_name, changes);
  return made && *made == map ? changes : std::vector<std::uint8_t>{};
}

Result<std::string> changed_map(const std::string& builtin_name, std::span<const std::uint8_t> changes) {
  static std::mutex mutex;
  static std::pair<std::string, std::string> last;  // changes and what came of them
  const std::string text(changes.begin(), changes.end());
  {
    const std::lock_guard lock(mutex);
    if (last.first == builtin_name + '\0' + text) return last.second;
  }
  const auto malformed = [] { return bad_data("the changes to the tokenizer's normaliser are malformed"); };
  if (find_invalid_utf8(text) != std::string::npos) return malformed();
  P5_TRY(const BuiltinMap* builtin, builtin_map(builtin_name));
  Rules rules = rules_of(builtin->map);
  std::size_t at = 0;
  const auto next = [&](std::string& out) {
    const std::size_t end = text.find('\0', at);
    if (end == std::string::npos) return false;
    out = text.substr(at, end - at);
    at = end + 1;
    return true;
  };
  std::string key, value;
  while (true) {
    if (!next(key)) return malformed();
    if (key.empty()) break;
    if (rules.erase(key) == 0) return malformed();
  }
  while (at < text.size()) {
    if (!next(key) || !next(value) || key.empty() || key.size() > kMaxRuleBytes || value.size() > kMaxRuleBytes)
      return malformed();
    rules[key] = value;
  }
  P5_TRY(const std::string map, compile(rules));
  P5_OK(check_normalizer_map(map, {}));
  const std::lock_guard lock(mutex);
  last = {builtin_name + '\0' + text, map};
  return map;
}

}  // namespace par5
