// Whether two sets of documents share any: the check that validation text (B) is not in the training text (A).
#pragma once

#include <cstdint>
#include <string>
#include <unordered_set>
#include <vector>

#include "tokenizer/shards/shards.h"

namespace par5 {

struct Overlap {
  std::uint64_t documents_a = 0, documents_b = 0;
  std::uint64_t bytes_b = 0;  // charged, of shards; else of the text
  // Documents of B whose source text, byte for byte, is also a document of A; and their bytes.
  std::uint64_t shared_documents = 0;
  std::uint64_t shared_bytes = 0;
  // Passages of B's other documents, and how many of them are in A; of shards only where both were made with the same
  // tokenizer. Near duplicates are the documents of whose passages at least half are in A.
  bool compared_passages = false;
  std::uint64_t passages = 0, shared_passages = 0;
  std::uint64_t near_documents = 0;
  std::vector<std::uint64_t> examples;  // the first ten shared or near documents of B, by number
};

// Documents alone, by the hashes that two manifests list.
Overlap document_overlap(const ShardManifest& a, const ShardManifest& b);

// A passage of shards: a run of so many tokens, each behind the last.
inline constexpr std::size_t kPassageTokens = 32;

// Documents and passages of two folders of shards. Passages of B are looked for at every token of A, so a passage is
// found wherever in A it stands. Holds some tens of bytes of memory for each passage of B.
Result<Overlap> shard_overlap(const std::string& folder_a, const std::string& folder_b);

// Adds to `overlap`, which knows the shared documents, what the passages show. `shared[d]`: document d of B is in A;
// `passages[d]`: hashes of its passages, none where it is; `in_a`: those of them that A has.
void count_passages(Overlap& overlap, const std::vector<bool>& shared,
                    const std::vector<std::vector<std::uint64_t>>& passages,
                    const std::unordered_set<std::uint64_t>& in_a);

}  // namespace par5
