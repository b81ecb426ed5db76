// Text into a folder of shards, and the same byte accounting without writing anything.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/file.h"
#include "tokenizer/accounting.h"
#include "tokenizer/claims.h"
#include "tokenizer/shards/shards.h"
#include "tokenizer/text_source.h"
#include "tokenizer/tokenizer.h"

namespace par5 {

struct ShardOptions {
  std::uint64_t shard_tokens = 100000000;
  std::optional<std::uint64_t> shuffle_seed;  // unset: documents in file order
  Overwrite overwrite = Overwrite::no;
  std::size_t threads = 0;  // 0: one per core; the output does not depend on it
};

struct ShardSummary {
  ShardManifest manifest;
  NormalizationChange change;
  std::uint64_t empty_documents = 0;  // documents that normalise to nothing: BOS alone
};

// Encodes every document of `source` and writes the folder (see ShardWriter for how it appears). Each document's bytes
// are checked: one whose charged, decoded and normalised bytes differ is bad_data, and so is a text without a single
// charged byte. A shuffle holds all tokens in memory (2 bytes each). Ctrl-C gives `interrupted` and leaves nothing.
//
// The shuffle is Fisher-Yates from the last document down, the other index being the next output of SplitMix64
// (seeded with the seed) modulo the number of documents left: the same order on every machine.
Result<ShardSummary> shard_text(TextSource& source, const Tokenizer& tokenizer, const std::string& folder,
                                const ShardOptions& options);

// A document whose bytes do not agree.
struct AccountFault {
  std::string place;
  std::string fault;
  std::uint64_t charged_bytes = 0, decoded_bytes = 0, normalized_bytes = 0;
};

struct VerifySummary {
  std::uint64_t documents = 0, tokens = 0;  // tokens with BOS
  std::uint64_t charged_bytes = 0, decoded_bytes = 0, normalized_bytes = 0, source_bytes = 0;
  NormalizationChange change;  // over the documents without fault
  std::uint64_t faulty_documents = 0;
  std::vector<AccountFault> faults;  // the first hundred
  ChargedCounts scored;              // of the claimed slice, or of all
  std::vector<ClaimFault> named;     // what is wrong with the tokenizer on this text, or with the claim
};

// The accounting of every document, and what somebody claims about it; faults are counted, not errors.
Result<VerifySummary> verify_text(TextSource& source, const Tokenizer& tokenizer, std::size_t threads,
                                  TextClaim claim = {});

}  // namespace par5
