// Predicts each value of a row from the values before it in the row, by the covariance of the rows seen so far.
// State: the Cholesky factor of lambda I + sum of x x^T and the mass S (lambda + number of rows, after forgetting).
// With it the conditional distribution of value c given values 0 … c-1 is Gaussian with mean mean(c) and deviation
// deviation(c): forward substitution, one column of the factor per value; a row is learnt by one rank-1 update.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "archive/coder/kernels.h"

namespace par5::coder {

class CovariancePredictor {
 public:
  // `width` values a row. A diagonal predictor keeps the variances only, and its means are 0. `ridge` is lambda: the
  // prior counts as that many rows of independent values of variance 1.
  CovariancePredictor(std::size_t width, bool diagonal, float ridge);

  // Begins a matrix: scales the past down to a mass of at most `most_mass` rows.
  void begin_matrix(float most_mass);
  void begin_row();
  float mean(std::size_t c) const { return mean_[c]; }
  float deviation(std::size_t c) const { return diagonal_[c] * inverse_root_mass_; }
  // Tells the value of column c; columns come in order. Returns (value - mean) / deviation.
  float observe(const Kernels& kernels, std::size_t c, float value);
  // Learns a whole row; destroys `row`, which has padded_width() elements, zeros behind width.
  void learn(const Kernels& kernels, std::span<float> row);
  std::size_t padded_width() const { return padded_; }

 private:
  // Column k of the factor, from the multiple of kLanes at or before k to padded_; zeros before k.
  float* column(std::size_t k) { return factor_.data() + offsets_[k]; }
  static std::size_t first(std::size_t k) { return k / kLanes * kLanes; }

  std::size_t width_, padded_;
  bool is_diagonal_;
  float mass_, root_mass_, inverse_root_mass_;
  std::vector<float> factor_;
  std::vector<std::size_t> offsets_;
  std::vector<float> diagonal_;  // the factor's diagonal
  std::vector<float> mean_;
};

}  // namespace par5::coder
