// The temperature that logits are divided by: fitted when a model is packed, on training tokens, and stored with what
// it was fitted on. Evaluation applies it and never fits.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "archive/artifact.h"
#include "eval/eval_data.h"
#include "eval/scorer.h"

namespace par5 {

struct TemperatureFit {
  double temperature = 1;  // four digits
  std::int64_t targets = 0;
  double nats_before = 0;   // per target, at temperature 1
  double nats_after = 0;    // per target, at the fitted one
  std::string data_sha256;  // of tokens 0 … targets (token_sha256)
};

// The temperature that minimises the nats of all targets of `data` in disjoint windows, by Newton's method in 1 / T, in
// which the nats are convex: first steps on every fourth window, the last one on all. `scorer` is at temperature 1.
// Fewer than 100 targets are bad_data.
Result<TemperatureFit> fit_temperature(const EvalData& data, Scorer& scorer, std::int64_t window, std::size_t threads);

// Refuses, as a usage error, to fit on the first `targets` targets of the shards in `data` where one of their documents
// is a document of the shards in `validation`.
Status check_no_validation(const std::string& data, std::int64_t targets, const std::string& validation);

// What an artifact keeps of the fit beside the temperature, in ascending order of names.
std::vector<NamedEntry> temperature_entries(const TemperatureFit& fit);
struct TemperatureSource {
  std::string data_sha256;
  std::int64_t targets = 0;
};
// What the stored temperature was fitted on; nothing where none was fitted.
std::optional<TemperatureSource> temperature_source(const std::vector<NamedEntry>& extras);
// Whether that is the beginning of this very data.
bool is_fitted_on(const std::vector<NamedEntry>& extras, const EvalData& data);

}  // namespace par5
