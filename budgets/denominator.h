// What a score was divided by, solved back from its printed numbers; and whether training and validation share documents.
#pragma once

#include <cstdint>
#include <string>

#include "budgets/records/located.h"
#include "budgets/records/registry.h"
#include "core/error.h"

namespace par5 {

// Charged bytes per target: val_loss / (ln 2 · val_bpb), with the interval that the printed digits leave.
struct Denominator {
  double bytes_per_token = 0, lowest = 0, highest = 0;
};
Denominator back_solve(const PrintedNumber& loss, const PrintedNumber& bpb);

struct DenominatorMatch {
  const KnownTokenizer* known = nullptr;  // within 0.1 %, or within what the digits leave
  const KnownFault* fault = nullptr;      // no tokenizer fits, and this fault on one does; the first of those in `text`
  std::string text;                       // one sentence
};
DenominatorMatch match_denominator(const Denominator& denominator, const Registry& registry);

// Documents of one folder of shards that are also in another, by the hashes of their source text.
struct ShardOverlap {
  std::int64_t training = 0, validation = 0;  // documents, each with its repetitions
  std::int64_t shared = 0;                    // validation documents that training holds too
};
Result<ShardOverlap> shard_overlap(const std::string& training_folder, const std::string& validation_folder);

}  // namespace par5
