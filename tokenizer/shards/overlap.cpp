#include "tokenizer/shards/overlap.h"

#include <algorithm>
#include <unordered_map>
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

}  // namespace

Result<ShardOverlap> shard_overlap(const std::string& folder_a, const std::string& folder_b) {
  P5_TRY(const ShardReader a, ShardReader::open(folder_a));
  P5_TRY(const ShardReader b, ShardReader::open(folder_b));
  ShardOverlap overlap;
  overlap.documents_a = a.manifest().documents;
  overlap.documents_b = b.manifest().documents;
  overlap.bytes_b = b.manifest().bytes;

  std::unordered_set<std::string> documents;
  for (const ShardDocument& document : a.manifest().document_list) documents.insert(document.sha256);
  std::vector<bool> shared;
  for (const ShardDocument& document : b.manifest().document_list) {
    shared.push_back(documents.count(document.sha256) > 0);
    overlap.shared_documents += shared.back();
    if (shared.back()) overlap.shared_bytes += document.bytes;
  }

  // Passages of B's other documents, and whether A has them.
  overlap.compared_passages =
      !a.manifest().tokenizer_sha256.empty() && a.manifest().tokenizer_sha256 == b.manifest().tokenizer_sha256;
  std::unordered_map<std::uint64_t, bool> passages;
  std::vector<std::vector<std::uint64_t>> of_document(shared.size());
  if (overlap.compared_passages) {
    std::vector<std::uint16_t> tokens;
    std::uint64_t position = 0;
    for (std::size_t d = 0; d < shared.size(); ++d) {
      const std::uint64_t count = b.manifest().document_list[d].tokens;
      if (!shared[d] && count > 1) {
        tokens.resize(count - 1);
        b.read(position + 1, tokens);  // without BOS
        for (std::size_t at = 0; at + kPassageTokens <= tokens.size(); at += kPassageTokens) {
          of_document[d].push_back(passage_hash(std::span(tokens).subspan(at, kPassageTokens)));
          passages.emplace(of_document[d].back(), false);
        }
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
        if (++seen < kPassageTokens) continue;
        if (const auto found = passages.find(hash.value); found != passages.end()) found->second = true;
      }
    }
  }

  for (std::size_t d = 0; d < shared.size(); ++d) {
    const auto found = static_cast<std::uint64_t>(
        std::count_if(of_document[d].begin(), of_document[d].end(), [&](std::uint64_t hash) { return passages.at(hash); }));
    overlap.passages += of_document[d].size();
    overlap.shared_passages += found;
    const bool near = found > 0 && 2 * found >= of_document[d].size();
    overlap.near_documents += near;
    if ((near || shared[d]) && overlap.examples.size() < 10) overlap.examples.push_back(d);
  }
  return overlap;
}

}  // namespace par5
