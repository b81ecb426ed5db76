#include "eval/probe.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <map>
#include <random>

#include "core/cancel.h"
#include "core/progress.h"
#include "core/text.h"
#include "eval/frequency_scorer.h"

namespace par5 {
namespace {

using Tokens = std::vector<std::uint16_t>;

class Prober {
 public:
  Prober(const EvalData& data, Scorer& scorer, const ProbeSettings& settings)
      : data_(data), scorer_(scorer), settings_(settings), random_(settings.seed) {}

  Result<ProbeReport> run() {
    const std::int64_t length = std::min(settings_.window, data_.targets());
    if (length < 2) return bad_data("a probe needs windows of at least 2 tokens");
    Progress progress("probing", static_cast<std::uint64_t>(settings_.windows), "windows");
    for (std::int64_t w = 0; w < settings_.windows; ++w) {
      if (cancelled()) return interrupted();
      const std::int64_t last = data_.targets() - length;
      const std::int64_t start = settings_.windows > 1 ? last * w / (settings_.windows - 1) : 0;
      P5_OK(probe_window(start, length));
      progress.update(static_cast<std::uint64_t>(w + 1));
    }
    conclude();
    return std::move(report_);
  }

 private:
  Status probe_window(std::int64_t start, std::int64_t length) {
    const auto slice = [&](std::int64_t at) {
      return Tokens(data_.tokens.begin() + at, data_.tokens.begin() + at + length);
    };
    const Tokens window = slice(start);
    const Tokens later = slice(std::min(start + length, data_.targets() - length));
    P5_TRY(const std::vector<float> first, rows_of(window, later));
    check_rows(first, start);
    if (auto* exact = dynamic_cast<FrequencyScorer*>(&scorer_)) P5_OK(check_frequencies(*exact, window, first, start));
    P5_TRY(const std::vector<float> again, rows_of(window, later));
    compare("repeat", first, again, length, start, "the same call gives other bits");

    for (std::int64_t c = 0; c < settings_.cuts; ++c) {
      // Spread over the window, the last place included, where the target alone is left to change.
      const std::int64_t cut =
          c == 0 ? length - 2 : static_cast<std::int64_t>(random_() % static_cast<std::uint64_t>(length - 1));
      Tokens changed = window;
      changed[static_cast<std::size_t>(cut + 1)] = other_token(changed[static_cast<std::size_t>(cut + 1)]);
      P5_TRY(const std::vector<float> target, rows_of(changed, later));
      compare("target", first, target, cut + 1, start, "with another target " + std::to_string(start + cut + 1));
      for (std::int64_t p = cut + 1; p < length; ++p)
        changed[static_cast<std::size_t>(p)] = other_token(changed[static_cast<std::size_t>(p)]);
      P5_TRY(const std::vector<float> future, rows_of(changed, later));
      compare("future", first, future, cut + 1, start,
              "with other tokens from " + std::to_string(start + cut + 1) + " on");
    }

    Tokens document = later;
    for (std::uint16_t& token : document) token = other_token(token);
    document[0] = data_.bos;
    P5_TRY(const std::vector<float> beside, rows_of(window, document));
    compare("documents", first, beside, length, start, "with another later document in the batch");
    P5_TRY(const std::vector<float> ignored, rows_of(document, document));
    (void)ignored;
    P5_TRY(const std::vector<float> after, rows_of(window, later));
    compare("documents", first, after, length, start, "after another document has been scored");
    return {};
  }

  std::uint16_t other_token(std::uint16_t token) {
    const auto vocab = static_cast<std::uint64_t>(scorer_.vocab());
    return static_cast<std::uint16_t>((token + 1 + random_() % (vocab - 1)) % vocab);
  }

  // All rows of `window`, which is scored in one batch with `later`.
  Result<std::vector<float>> rows_of(const Tokens& window, const Tokens& later) {
    Tokens inputs = window;
    inputs.insert(inputs.end(), later.begin(), later.end());
    const auto length = static_cast<std::int64_t>(window.size());
    const std::vector<PositionRange> wanted = {{0, length}, {0, length}};
    std::vector<float> rows(static_cast<std::size_t>(length * scorer_.vocab()));
    WindowBatch batch;
    batch.inputs = inputs;
    batch.length = length;
    batch.wanted = wanted;
    P5_OK(scorer_.score(batch, [&](std::int64_t first, std::int64_t count, std::span<const float> logs) -> Status {
      if (static_cast<std::int64_t>(logs.size()) != count * scorer_.vocab())
        return internal_error("the scorer's rows are not as long as its vocabulary");
      for (std::int64_t row = first; row < std::min(first + count, length); ++row)
        std::copy_n(logs.begin() + (row - first) * scorer_.vocab(), scorer_.vocab(),
                    rows.begin() + row * scorer_.vocab());
      return {};
    }));
    return rows;
  }

  // Rows [0, count) must be the same bits.
  void compare(const std::string& id, const std::vector<float>& first, const std::vector<float>& second,
               std::int64_t count, std::int64_t start, const std::string& what) {
    const auto vocab = static_cast<std::size_t>(scorer_.vocab());
    const std::size_t end = static_cast<std::size_t>(count) * vocab;
    report_.rows += count;
    compared_[id] += count;
    for (std::size_t i = 0; i < end; ++i)
      if (std::bit_cast<std::uint32_t>(first[i]) != std::bit_cast<std::uint32_t>(second[i])) {
        failures_.emplace(id, what + ", the distribution of target " +
                                  std::to_string(start + static_cast<std::int64_t>(i / vocab) + 1) +
                                  " changes: token " + std::to_string(i % vocab) + " has log-probability " +
                                  shortest(first[i]) + ", then " + shortest(second[i]));
        return;
      }
  }

  void check_rows(const std::vector<float>& rows, std::int64_t start) {
    const auto vocab = static_cast<std::size_t>(scorer_.vocab());
    for (std::size_t row = 0; row * vocab < rows.size(); ++row) {
      const std::string target = "target " + std::to_string(start + static_cast<std::int64_t>(row) + 1);
      double sum = 0;
      for (std::size_t v = 0; v < vocab; ++v) {
        const float log = rows[row * vocab + v];
        // Not a number, or above 1 by more than rounding.
        if (!(log <= 1e-5f))
          failures_.emplace("nonnegative",
                            target + ": token " + std::to_string(v) + " has log-probability " + shortest(log));
        sum += std::exp(static_cast<double>(log));
      }
      ++compared_["normalised"];
      ++compared_["nonnegative"];
      const double error = std::abs(sum - 1);
      if (!(error <= report_.largest_sum_error)) report_.largest_sum_error = error;
      if (!(error <= kProbeSumTolerance))
        failures_.emplace("normalised", target + ": the probabilities sum to " + shortest(sum));
    }
  }

  // Whole numbers: no rounding hides what is missing.
  Status check_frequencies(FrequencyScorer& scorer, const Tokens& window, const std::vector<float>& rows,
                           std::int64_t start) {
    const auto length = static_cast<std::int64_t>(window.size());
    const auto vocab = static_cast<std::size_t>(scorer.vocab());
    const std::vector<PositionRange> wanted = {{0, length}};
    WindowBatch batch;
    batch.inputs = window;
    batch.length = length;
    batch.wanted = wanted;
    return scorer.score_frequencies(
        batch,
        [&](std::int64_t first, std::int64_t count, std::span<const std::uint64_t> frequencies,
            std::span<const std::uint64_t> totals) -> Status {
          if (frequencies.size() != static_cast<std::size_t>(count) * vocab ||
              totals.size() != static_cast<std::size_t>(count))
            return internal_error("the scorer's frequencies are not as many as its vocabulary");
          for (std::size_t row = 0; row < totals.size(); ++row) {
            const std::size_t position = static_cast<std::size_t>(first) + row;
            const std::string target = "target " + std::to_string(start + static_cast<std::int64_t>(position) + 1);
            std::uint64_t sum = 0;
            for (std::size_t v = 0; v < vocab; ++v) {
              const std::uint64_t frequency = frequencies[row * vocab + v];
              const bool overflows = __builtin_add_overflow(sum, frequency, &sum);
              const double log = std::log(static_cast<double>(frequency)) - std::log(static_cast<double>(totals[row]));
              if (frequency < 1 || overflows)
                failures_.emplace("nonnegative", target + ": token " + std::to_string(v) + " has the frequency " +
                                                     std::to_string(frequency));
              else if (!(std::abs(log - static_cast<double>(rows[position * vocab + v])) <= 1e-4))
                failures_.emplace("normalised", target + ": token " + std::to_string(v) + " has the frequency " +
                                                    std::to_string(frequency) + " of " + std::to_string(totals[row]) +
                                                    ", and " + shortest(rows[position * vocab + v]) +
                                                    " as its log-probability");
            }
            if (sum != totals[row])
              failures_.emplace("normalised", target + ": the frequencies sum to " + std::to_string(sum) +
                                                  " and their total is " + std::to_string(totals[row]));
            else
              ++report_.exact_sums;
          }
          return {};
        });
  }

  void conclude() {
    for (const char* id : {"target", "future", "documents", "repeat", "normalised", "nonnegative"}) {
      const auto failure = failures_.find(id);
      if (failure != failures_.end())
        report_.checks.push_back({id, Verdict::fail, failure->second});
      else
        report_.checks.push_back(
            {id, compared_[id] > 0 ? Verdict::pass : Verdict::unknown,
             grouped(compared_[id]) +
                 (std::string(id) == "normalised"
                      ? " distributions sum to 1 within " + shortest(report_.largest_sum_error) +
                            (report_.exact_sums > 0
                                 ? "; as whole numbers " + grouped(report_.exact_sums) + " sum to their total exactly"
                                 : "")
                  : std::string(id) == "nonnegative" ? " distributions hold probabilities from 0 to 1"
                                                     : " distributions stay the same bits")});
    }
    report_.verdict = overall(report_.checks);
  }

  const EvalData& data_;
  Scorer& scorer_;
  const ProbeSettings& settings_;
  std::mt19937_64 random_;
  ProbeReport report_;
  std::map<std::string, std::int64_t> compared_;
  std::map<std::string, std::string> failures_;  // the first of each check
};

}  // namespace

Result<ProbeReport> probe_causality(const EvalData& data, Scorer& scorer, const ProbeSettings& settings) {
  return Prober(data, scorer, settings).run();
}

}  // namespace par5
