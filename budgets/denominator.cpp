#include "budgets/denominator.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <utility>

#include "core/text.h"

namespace par5 {
namespace {

double distance_to(const Denominator& denominator, const KnownTokenizer& known) {
  const double low = known.bytes_per_token - known.uncertainty, high = known.bytes_per_token + known.uncertainty;
  if (denominator.highest < low) return low / denominator.highest - 1;
  if (denominator.lowest > high) return denominator.lowest / high - 1;
  return 0;
}

// Factors that the tokenizer's own counts give, where they are known.
std::vector<std::pair<std::string, double>> own_factors(const KnownTokenizer& tokenizer) {
  std::vector<std::pair<std::string, double>> factors;
  if (!tokenizer.charged_bytes) return factors;
  const auto add = [&](const char* name, std::int64_t extra) {
    factors.emplace_back(name, 1 + static_cast<double>(extra) / static_cast<double>(*tokenizer.charged_bytes));
  };
  if (const auto spaces = tokenizer.leading_space_tokens) {
    add("leading space counted twice", *spaces);
    add("leading spaces not charged at all", -*spaces);
    add("leading space charged as the 3 bytes of its mark", 2 * *spaces);
  }
  if (const auto bytes = tokenizer.byte_tokens) {
    add("byte-fallback tokens charged as U+FFFD, 3 bytes each", 2 * *bytes);
    add("byte-fallback tokens charged as \"<0x..>\", 6 bytes each", 5 * *bytes);
  }
  return factors;
}

std::vector<FaultFit> fitting_faults(const Denominator& denominator, const Registry& registry) {
  constexpr double kOwnTolerance = 3e-4;
  std::vector<FaultFit> fits;
  for (const KnownTokenizer& tokenizer : registry.tokenizers) {
    const double factor = denominator.bytes_per_token / tokenizer.bytes_per_token;
    const double lowest = denominator.lowest / tokenizer.bytes_per_token,
                 highest = denominator.highest / tokenizer.bytes_per_token;
    bool named = false;
    for (const auto& [name, own] : own_factors(tokenizer))
      if (lowest <= own * (1 + kOwnTolerance) && highest >= own * (1 - kOwnTolerance)) {
        fits.push_back({&tokenizer, name, factor});
        named = true;
      }
    if (const KnownFault* fault = registry.fault(factor); fault && !named)
      fits.push_back({&tokenizer, fault->name, factor});
  }
  return fits;
}

}  // namespace

Denominator back_solve(const PrintedNumber& loss, const PrintedNumber& bpb) {
  const auto half_unit = [](const PrintedNumber& number) { return 0.5 * std::pow(10.0, -number.digits); };
  const auto solve = [](double nats, double bits) { return nats / (std::numbers::ln2 * bits); };
  return {solve(loss.value, bpb.value), solve(loss.value - half_unit(loss), bpb.value + half_unit(bpb)),
          solve(loss.value + half_unit(loss), std::max(bpb.value - half_unit(bpb), 1e-9))};
}

DenominatorMatch match_denominator(const Denominator& denominator, const Registry& registry) {
  DenominatorMatch match;
  match.text = "bytes per token " + fixed(denominator.bytes_per_token, 5) + " (between " +
               fixed(denominator.lowest, 5) + " and " + fixed(denominator.highest, 5) + ")";
  std::vector<std::pair<double, const KnownTokenizer*>> known;
  for (const KnownTokenizer& tokenizer : registry.tokenizers)
    known.emplace_back(distance_to(denominator, tokenizer), &tokenizer);
  if (known.empty()) return match;
  const auto centre = [&](const KnownTokenizer* tokenizer) {
    const double distance = std::abs(std::log(denominator.bytes_per_token / tokenizer->bytes_per_token));
    return std::isfinite(distance) ? distance : std::numeric_limits<double>::max();
  };
  std::stable_sort(known.begin(), known.end(), [&](const auto& a, const auto& b) {
    return std::pair(a.first, centre(a.second)) < std::pair(b.first, centre(b.second));
  });
  match.distance = known.front().first;
  match.nearest = known.front().second;
  std::vector<std::string> names;
  for (const auto& [distance, tokenizer] : known)
    if (distance <= kNearDenominator) {
      match.known.push_back(tokenizer);
      names.push_back(tokenizer->name + " (" + fixed(tokenizer->bytes_per_token, 5) + ")");
    }
  if (!names.empty()) {
    match.text += ": " + join(names, " or ");
    return match;
  }
  match.faults = fitting_faults(denominator, registry);
  for (const FaultFit& fit : match.faults)
    names.push_back(fixed(fit.factor, 4) + " times that of " + fit.tokenizer->name + ": " + fit.fault);
  if (!names.empty())
    match.text += " is " + join(names, ", or ");
  else
    match.text += "; nearest known is " + match.nearest->name + " (" + fixed(match.nearest->bytes_per_token, 5) +
                  "), " + fixed(100 * (denominator.bytes_per_token / match.nearest->bytes_per_token - 1), 2) +
                  " % away";
  return match;
}

}  // namespace par5
