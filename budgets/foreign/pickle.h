// Pickles read without running them. The interpreter knows every opcode of protocols 0 to 5; an opcode that would
// import or call something in Python only adds a node to a tree that says so. Nothing is looked up, constructed or
// called.
#pragma once

#include <cstdint>
#include <deque>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"

namespace par5 {

enum class PickleKind {
  none,
  boolean,  // integer 0 or 1
  integer,
  big_integer,  // text: little-endian two's complement bytes of more than 64 bits
  real,
  bytes,       // text
  string,      // text, UTF-8
  list,        // items
  tuple,       // items
  set,         // items
  dict,        // items: key, value, key, value, …
  global,      // text: "module.name"; what Python would import
  call,        // items: callee, arguments; what Python would call (REDUCE, NEWOBJ, INST, OBJ)
  persistent,  // items: the id; what the unpickler's owner would look up (PyTorch: a storage)
};

using PickleIndex = std::uint32_t;

struct PickleNode {
  PickleKind kind = PickleKind::none;
  std::int64_t integer = 0;
  double real = 0;
  std::string_view text;  // into the pickle's bytes, or into PickleDocument::strings
  std::vector<PickleIndex> items;
  PickleIndex state = 0;  // of a call: what BUILD would set on the object; 0: nothing
};

// A read pickle. Nodes lie in one array and name each other by index, so that depth and cycles are no danger to whoever
// frees or walks them (a walker still has to bound its own depth). The bytes that were read must outlive the document.
struct PickleDocument {
  std::vector<PickleNode> nodes;    // nodes[0] is None
  std::deque<std::string> strings;  // unescaped texts of the old opcodes
  PickleIndex root = 0;
  std::uint64_t end = 0;             // offset behind the STOP opcode
  std::vector<std::string> globals;  // every "module.name" once, in the order of first use

  const PickleNode& at(PickleIndex index) const { return nodes[index]; }
  // The value of a dict's string key; null where there is none or `node` is no dict.
  const PickleNode* find(const PickleNode& node, std::string_view key) const;
};

struct PickleLimits {
  std::uint64_t max_nodes = 4'000'000;
};

// Reads the pickle at the start of `bytes`. Truncated, unknown or contradictory opcodes are bad_data with file and
// offset; more nodes than the limit is resource_limit.
Result<PickleDocument> read_pickle(std::span<const std::byte> bytes, const std::string& path,
                                   const PickleLimits& limits = {});

// The globals that neither a PyTorch state dict nor NumPy arrays need: what running the pickle would reach beyond data
// ("os.system", "builtins.eval"). Empty for a pickle that is data only.
std::vector<std::string> dangerous_globals(const PickleDocument& document);

// One line for a person, nested to `depth`: "{'a': [1, 2], 'b': call os.system('id')}"; long parts are cut.
std::string describe(const PickleDocument& document, PickleIndex index, int depth = 3);

}  // namespace par5
