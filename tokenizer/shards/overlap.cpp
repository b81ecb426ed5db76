#include "tokenizer/shards/overlap.h"

#include <algorithm>
#include <unordered_set>

#include "core/cancel.h"
#include "core/hash.h"

namespace par5 {
namespace {

constexpr std::uint64_t kMultiplier = 0x9e3779b97f4a7c15u;

// A polynomial hash that can be rolled on by one token: Σ (token + 1) · m^(n-1-i) modulo 2^64.
struct RollingHash {
  std::uint64_t value = 0, highest = 1;
  RollingHash() {
    for (std::size_t i = 1; i < kPassageTokens; ++i) highest *= kMultiplier;
  }
  void push(std::uint16_t token) { value = value * kMultiplier + token + 1; }
  void drop(std::uint16_t oldest) { value -= (oldest + std::uint64_t{1}) * highest; }
};

std::uint64_t passage_hash(std::span<const std::uint16_t> tokens) {
  RollingHash hash;
  for (const std::uint16_t token : tokens) hash.push(token);
  return hash.value;
}

// Which documents of B are in A, noted in `overlap`.
std::vector<bool> find_shared(const ShardManifest& a, const ShardManifest& b, Overlap& overlap) {
  overlap.documents_a = a.documents;
  overlap.documents_b = b.documents;
  overlap.bytes_b = b.bytes;
  std::unordered_set<std::string> documents;
  for (const ShardDocument& document : a.document_list) documents.insert(document.sha256);
  std::vector<bool> shared;
  for (const ShardDocument& document : b.document_list) {
    shared.push_back(documents.count(document.sha256) > 0);
    overlap.shared_documents += shared.back();
    if (shared.back()) overlap.shared_bytes += document.bytes;
  }
  return shared;
}

}  // namespace

Overlap document_overlap(const ShardManifest& a, const ShardManifest& b) {
  Overlap overlap;
  count_passages(overlap, find_shared(a, b, overlap), {}, {});
  return overlap;
}

void count_passages(Overlap& overlap, const std::vector<bool>& shared,
                    const std::vector<std::vector<std::uint64_t>>& passages,
                    const std::unordered_set<std::uint64_t>& in_a) {
  for (std::size_t d = 0; d < shared.size(); ++d) {
    std::uint64_t found = 0, all = 0;
    if (d < passages.size()) {
      all = passages[d].size();
      found = static_cast<std::uint64_t>(std::count_if(passages[d].begin(), passages[d].end(),
                                                       [&](std::uint64_t hash) { return in_a.count(hash) > 0; }));
    }
    overlap.passages += all;
    overlap.shared_passages += found;
    const bool near = found > 0 && 2 * found >= all;
    overlap.near_documents += near;
    if ((near || shared[d]) && overlap.examples.size() < 10) overlap.examples.push_back(d);
  }
}

Result<Overlap> shard_overlap(const std::string& folder_a, const std::string& folder_b) {
  P5_TRY(const ShardReader a, ShardReader::open(folder_a));
  P5_TRY(const ShardReader b, ShardReader::open(folder_b));
  Overlap overlap;
  const std::vector<bool> shared = find_shared(a.manifest(), b.manifest(), overlap);
  overlap.compared_passages =
      !a.manifest().tokenizer_sha256.empty() && a.manifest().tokenizer_sha256 == b.manifest().tokenizer_sha256;
  std::unordered_set<std::uint64_t> wanted, in_a;
  std::vector<std::vector<std::uint64_t>> passages(shared.size());
  if (overlap.compared_passages) {
    std::vector<std::uint16_t> tokens;
    std::uint64_t position = 0;
    for (std::size_t d = 0; d < shared.size(); ++d) {
      const std::uint64_t count = b.manifest().document_list[d].tokens;
      if (!shared[d] && count > 1) {
        tokens.resize(count - 1);
        b.read(position + 1, tokens);  // without BOS
        for (std::size_t at = 0; at + kPassageTokens <= tokens.size(); at += kPassageTokens)
          passages[d].push_back(passage_hash(std::span(tokens).subspan(at, kPassageTokens)));
        wanted.insert(passages[d].begin(), passages[d].end());
      }
      position += count;
    }
    constexpr std::uint64_t kRead = std::uint64_t{1} << 20;
    std::vector<std::uint16_t> window(kPassageTokens);
    RollingHash hash;
    std::uint64_t seen = 0;
    for (std::uint64_t begin = 0; begin < a.tokens(); begin += kRead) {
      if (cancelled()) return interrupted();
      tokens.resize(std::min(kRead, a.tokens() - begin));
      a.read(begin, tokens);
      for (const std::uint16_t token : tokens) {
        std::uint16_t& oldest = window[seen % kPassageTokens];
        if (seen >= kPassageTokens) hash.drop(oldest);
        hash.push(token);
        oldest = token;
        if (++seen >= kPassageTokens && wanted.count(hash.value) > 0) in_a.insert(hash.value);
      }
    }
  }
  count_passages(overlap, shared, passages, in_a);
  return overlap;
}

}  // namespace par5
