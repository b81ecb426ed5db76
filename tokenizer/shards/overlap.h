// Whether two folders of shards share documents: the check that validation text is not in the training text.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tokenizer/shards/shards.h"

namespace par5 {

struct ShardOverlap {
  // Documents of B whose source text, byte for byte, is also a document of A; and their charged bytes.
  std::uint64_t shared_documents = 0;
  std::uint64_t shared_bytes = 0;
  // Documents of B of whose passages (runs of kPassageTokens tokens, each behind the last) at least half are
  // in A, shared documents left out; and how many passages of all these documents are. Only where
  // both were made with the same tokenizer.
  bool compared_passages = false;
  std::uint64_t near_documents = 0;
  std::uint64_t shared_passages = 0, passages = 0;
  std::uint64_t documents_a = 0, documents_b = 0, bytes_b = 0;
  std::vector<std::uint64_t> examples;  // the first ten shared or near documents of B, by number
};

inline constexpr std::size_t kPassageTokens = 32;

// Passages of B are looked for at every token of A, so a passage is found wherever in A it stands. Holds 8 bytes of memory
// for each passage of B.
Result<ShardOverlap> shard_overlap(const std::string& folder_a, const std::string& folder_b);

}  // namespace par5
