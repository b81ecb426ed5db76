// A scorer whose probabilities are whole numbers over their sum, as an exact coder needs them: what it says can be
// summed without rounding.
#pragma once

#include "eval/scorer.h"

namespace par5 {

class FrequencyScorer : public Scorer {
 public:
  // As Scorer::score, with frequencies row-major [rows, vocab] and their totals [rows] in place of logarithms.
  using FrequencySink =
      std::function<Status(std::int64_t first_row, std::int64_t rows, std::span<const std::uint64_t> frequencies,
                           std::span<const std::uint64_t> totals)>;
  virtual Status score_frequencies(const WindowBatch& batch, const FrequencySink& sink) = 0;
};

}  // namespace par5
