// What a score was divided by, solved back from its printed numbers, and what is known of such a divisor.
#pragma once

#include <string>
#include <vector>

#include "budgets/records/located.h"
#include "budgets/records/registry.h"

namespace par5 {

// Charged bytes per target: val_loss / (ln 2 · val_bpb), with the interval that the printed digits leave.
struct Denominator {
  double bytes_per_token = 0, lowest = 0, highest = 0;
};
Denominator back_solve(const PrintedNumber& loss, const PrintedNumber& bpb);

// A known fault on a known tokenizer that would give the denominator.
struct FaultFit {
  const KnownTokenizer* tokenizer = nullptr;
  std::string fault;
  double factor = 1;  // denominator / the tokenizer's bytes per token
};

// Distances are relative, between what the digits leave and what is known of the constant; 0 where these overlap.
inline constexpr double kNearDenominator = 1e-3;

struct DenominatorMatch {
  std::vector<const KnownTokenizer*> known;  // all within kNearDenominator, the nearest first
  const KnownTokenizer* nearest = nullptr;   // null in an empty registry
  double distance = 0;                       // to the nearest
  std::vector<FaultFit> faults;              // where nothing is near: what explains it
  std::string text;                          // one sentence
};
DenominatorMatch match_denominator(const Denominator& denominator, const Registry& registry);

}  // namespace par5
