#include "budgets/denominator.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <set>

#include "core/text.h"
#include "tokenizer/shards/shards.h"

namespace par5 {

Denominator back_solve(const PrintedNumber& loss, const PrintedNumber& bpb) {
  const auto half_unit = [](const PrintedNumber& number) { return 0.5 * std::pow(10.0, -number.digits); };
  const auto solve = [](double nats, double bits) { return nats / (std::numbers::ln2 * bits); };
  return {solve(loss.value, bpb.value), solve(loss.value - half_unit(loss), bpb.value + half_unit(bpb)),
          solve(loss.value + half_unit(loss), std::max(bpb.value - half_unit(bpb), 1e-9))};
}

DenominatorMatch match_denominator(const Denominator& denominator, const Registry& registry) {
  constexpr double kNear = 1e-3;
  DenominatorMatch match;
  match.text = "bytes per token " + fixed(denominator.bytes_per_token, 5) + " (between " + fixed(denominator.lowest, 5) + " and " + fixed(denominator.highest, 5) + ")";
  const KnownTokenizer* nearest = registry.nearest(denominator.bytes_per_token);
  if (!nearest) return match;
  const double factor = denominator.bytes_per_token / nearest->bytes_per_token;
  const bool inside = denominator.lowest <= nearest->bytes_per_token && nearest->bytes_per_token <= denominator.highest;
  if (inside || std::abs(factor - 1) <= kNear) {
    match.known = nearest;
    match.text += ": " + nearest->name + " (" + fixed(nearest->bytes_per_token, 5) + ")";
    return match;
  }
  for (const KnownTokenizer& tokenizer : registry.tokenizers) {
    const double times = denominator.bytes_per_token / tokenizer.bytes_per_token;
    if (const KnownFault* fault = registry.fault(times)) {
      match.text += (match.fault ? ", or " : " is ") + fixed(times, 4) + " times that of " + tokenizer.name + ": " + fault->name;
      if (!match.fault) match.fault = fault;
    }
  }
  if (match.fault) return match;
  match.text += "; nearest known is " + nearest->name + " (" + fixed(nearest->bytes_per_token, 5) + "), " + fixed(100 * (factor - 1), 2) + " % away";
  return match;
}

Result<ShardOverlap> shard_overlap(const std::string& training_folder, const std::string& validation_folder) {
  P5_TRY(const ShardManifest training, read_manifest(training_folder));
  P5_TRY(const ShardManifest validation, read_manifest(validation_folder));
  std::set<std::string> seen;
  for (const ShardDocument& document : training.document_list) seen.insert(document.sha256);
  ShardOverlap overlap{static_cast<std::int64_t>(training.document_list.size()), static_cast<std::int64_t>(validation.document_list.size()), 0};
  for (const ShardDocument& document : validation.document_list) overlap.shared += static_cast<std::int64_t>(seen.count(document.sha256));
  return overlap;
}

}  // namespace par5
