#include "tokenizer/normalizer_map.h"

#include <sentencepiece_trainer.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <map>
#include <mutex>

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

// The library exports its maps only inside models that it trains, so a one-letter model is trained for its map.
Result<BuiltinMap> extract_builtin_map(const std::string& name) {
  OneLine text;
  std::string model;
  const auto status = sentencepiece::SentencePieceTrainer::Train({{"model_type", "char"},
                                                                  {"vocab_size", "8"},
                                                                  {"normalization_rule_name", name},
                                                                  {"num_threads", "1"},
                                                                  {"minloglevel", "3"}},
                                                                 &text, &model);
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
    P5_TRY(auto map, extract_builtin_map(name));
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

}  // namespace par5
