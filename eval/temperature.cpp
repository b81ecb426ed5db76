#include "eval/temperature.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <span>

#include "core/hash.h"
#include "core/parallel.h"
#include "core/text.h"
#include "eval/plan.h"

namespace par5 {
namespace {

constexpr const char* kDataName = "temperature_data_sha256";
constexpr const char* kTargetsName = "temperature_targets";
constexpr std::int64_t kFewestTargets = 100;
constexpr std::int64_t kBatchTokens = 4096;
constexpr std::size_t kSparse = 4;  // first steps look at every fourth window
constexpr int kFirstSteps = 3;

// Of log-probabilities multiplied by β and normalised again: nats of the target, and their derivatives in β.
struct Derivatives {
  double nats = 0;
  double slope = 0;
  double curvature = 0;
};

Derivatives row_derivatives(std::span<const float> logs, std::uint16_t target, double beta) {
  const float largest = *std::max_element(logs.begin(), logs.end());
  const auto factor = static_cast<float>(beta);
  double sum = 0, first = 0, second = 0;
  for (const float log : logs) {
    const auto weight = static_cast<double>(std::exp(factor * (log - largest)));
    const double value = log;
    sum += weight;
    first += weight * value;
    second += weight * value * value;
  }
  const double mean = first / sum, own = logs[target];
  return {beta * largest + std::log(sum) - beta * own, mean - own, second / sum - mean * mean};
}

// Sums over the targets of the windows, one for each β, in the order of the targets.
Result<std::vector<Derivatives>> sums_over(const EvalData& data, std::span<const Window> plan, Scorer& scorer,
                                           std::span<const double> betas, std::size_t threads) {
  std::vector<Derivatives> sums(betas.size());
  const auto vocab = static_cast<std::size_t>(scorer.vocab());
  while (!plan.empty()) {
    const std::int64_t length = plan[0].length;
    std::size_t count = 1;
    while (count < plan.size() && plan[count].length == length &&
           length * static_cast<std::int64_t>(count + 1) <= kBatchTokens)
      ++count;
    std::vector<std::uint16_t> inputs, targets;
    for (const Window& window : plan.first(count)) {
      const auto begin = data.tokens.begin() + window.start;
      inputs.insert(inputs.end(), begin, begin + length);
      targets.insert(targets.end(), begin + 1, begin + 1 + length);
    }
    const std::vector<PositionRange> wanted(count, {0, length});
    const auto add_rows = [&](std::int64_t first_row, std::int64_t rows, std::span<const float> logs) -> Status {
      std::vector<Derivatives> parts(static_cast<std::size_t>(rows) * betas.size());
      parallel_for(static_cast<std::size_t>(rows), threads, [&](std::size_t row) {
        const std::uint16_t target = targets[static_cast<std::size_t>(first_row) + row];
        for (std::size_t b = 0; b < betas.size(); ++b)
          parts[row * betas.size() + b] = row_derivatives(logs.subspan(row * vocab, vocab), target, betas[b]);
      });
      for (std::size_t i = 0; i < parts.size(); ++i) {
        Derivatives& sum = sums[i % betas.size()];
        sum.nats += parts[i].nats;
        sum.slope += parts[i].slope;
        sum.curvature += parts[i].curvature;
      }
      return {};
    };
    P5_OK(scorer.score({inputs, length, wanted}, add_rows));
    plan = plan.subspan(count);
  }
  return sums;
}

// Newton's step, but never to less than half or more than twice β, nor beyond 1 / 16 … 16.
double step(double beta, const Derivatives& sums) {
  if (!(sums.curvature > 0)) return beta;
  return std::clamp(std::clamp(beta - sums.slope / sums.curvature, beta / 2, beta * 2), 1.0 / 16, 16.0);
}

}  // namespace

Result<TemperatureFit> fit_temperature(const EvalData& data, Scorer& scorer, std::int64_t window, std::size_t threads) {
  TemperatureFit fit;
  fit.targets = data.targets();
  if (fit.targets < kFewestTargets)
    return bad_data("a temperature needs at least " + std::to_string(kFewestTargets) +
                    " targets to be fitted on, not " + std::to_string(fit.targets));
  for (const std::uint16_t token : data.tokens)
    if (token >= scorer.vocab())
      return bad_data("token id " + std::to_string(token) + " is beyond the model's vocabulary of " +
                      std::to_string(scorer.vocab()));
  P5_TRY(const std::vector<Window> plan, chunked_plan(fit.targets, window));
  std::vector<Window> sparse;
  for (std::size_t w = 0; w < plan.size(); w += kSparse) sparse.push_back(plan[w]);
  double beta = 1;
  for (int i = 0; i < kFirstSteps; ++i) {
    P5_TRY(const auto sums, sums_over(data, sparse, scorer, std::span(&beta, 1), threads));
    beta = step(beta, sums[0]);
  }
  P5_TRY(const auto last, sums_over(data, plan, scorer, std::span(&beta, 1), threads));
  fit.temperature = std::round(1e4 / step(beta, last[0])) / 1e4;
  const double betas[] = {1.0, 1 / fit.temperature};
  P5_TRY(const auto sums, sums_over(data, plan, scorer, betas, threads));
  const auto targets = static_cast<double>(fit.targets);
  fit.nats_before = sums[0].nats / targets;
  fit.nats_after = sums[1].nats / targets;
  fit.data_sha256 = token_sha256(data, fit.targets);
  return fit;
}

Status check_no_validation(const std::string& data, std::int64_t targets, const std::string& validation) {
  P5_TRY(const ShardManifest fitted, read_manifest(data));
  P5_TRY(const ShardManifest held_out, read_manifest(validation));
  std::set<std::string> kept;
  for (const ShardDocument& document : held_out.document_list) kept.insert(document.sha256);
  std::int64_t first_token = 0, shared = 0;
  for (const ShardDocument& document : fitted.document_list) {
    if (first_token > targets) break;
    shared += static_cast<std::int64_t>(kept.count(document.sha256));
    first_token += static_cast<std::int64_t>(document.tokens);
  }
  if (shared == 0) return {};
  return usage_error("a temperature is fitted on training data alone, and " + grouped(shared) +
                         (shared == 1 ? " document" : " documents") + " of '" + data + "' belong to '" + validation +
                         "'",
                     "--fit-temperature");
}

std::vector<NamedEntry> temperature_entries(const TemperatureFit& fit) {
  std::vector<std::byte> hash;
  for (std::size_t i = 0; i + 1 < fit.data_sha256.size(); i += 2)
    hash.push_back(static_cast<std::byte>(std::stoi(fit.data_sha256.substr(i, 2), nullptr, 16)));
  return {{kDataName, false, std::move(hash)}, {kTargetsName, false, static_cast<std::uint64_t>(fit.targets)}};
}

std::optional<TemperatureSource> temperature_source(const std::vector<NamedEntry>& extras) {
  const std::vector<std::byte>* hash = nullptr;
  const std::uint64_t* targets = nullptr;
  for (const NamedEntry& entry : extras) {
    if (entry.name == kDataName) hash = std::get_if<std::vector<std::byte>>(&entry.value);
    if (entry.name == kTargetsName) targets = std::get_if<std::uint64_t>(&entry.value);
  }
  if (!hash || !targets || hash->size() != Digest{}.size() || *targets >= std::uint64_t{1} << 62) return std::nullopt;
  Digest digest{};
  std::copy(hash->begin(), hash->end(), digest.begin());
  return TemperatureSource{hex(digest), static_cast<std::int64_t>(*targets)};
}

bool is_fitted_on(const std::vector<NamedEntry>& extras, const EvalData& data) {
  const auto source = temperature_source(extras);
  return source && source->targets <= data.targets() && token_sha256(data, source->targets) == source->data_sha256;
}

}  // namespace par5
