#include "archive/coder/covariance.h"

#include <algorithm>
#include <cmath>

namespace par5::coder {
namespace {

constexpr float kLeastDeviation = 0.0625f;  // no conditional deviation is taken below this at the start of a matrix

}  // namespace

CovariancePredictor::CovariancePredictor(std::size_t width, bool diagonal, float ridge)
    : width_(width), padded_((width + kLanes - 1) / kLanes * kLanes), is_diagonal_(diagonal), mass_(ridge) {
  diagonal_.assign(width, std::sqrt(ridge));
  mean_.assign(padded_, 0.0f);
  if (!is_diagonal_) {
    std::size_t size = 0;
    offsets_.resize(width);
    for (std::size_t k = 0; k < width; ++k) {
      offsets_[k] = size;
      size += padded_ - first(k);
    }
    factor_.assign(size, 0.0f);
    for (std::size_t k = 0; k < width; ++k) column(k)[k - first(k)] = diagonal_[k];
  }
  begin_matrix(mass_);
}

void CovariancePredictor::begin_matrix(float most_mass) {
  if (mass_ > most_mass) {
    const float factor = std::sqrt(most_mass / mass_);
    for (float& value : factor_) value = value * factor;
    for (float& value : diagonal_) value = value * factor;
    mass_ = most_mass;
  }
  root_mass_ = std::sqrt(mass_);
  inverse_root_mass_ = 1.0f / root_mass_;
  // Forgetting wears the ridge away; a column that was always 0 must keep some variance.
  const float least = kLeastDeviation * root_mass_;
  for (std::size_t k = 0; k < width_; ++k) {
    if (diagonal_[k] >= least) continue;
    diagonal_[k] = least;
    if (!is_diagonal_) column(k)[k - first(k)] = least;
  }
}

void CovariancePredictor::begin_row() { std::fill(mean_.begin(), mean_.end(), 0.0f); }

float CovariancePredictor::observe(const Kernels& kernels, std::size_t c, float value) {
  const float z = (value - mean_[c]) / diagonal_[c];
  if (!is_diagonal_) kernels.accumulate(mean_.data() + first(c), column(c), z, padded_ - first(c));
  return z * root_mass_;
}

void CovariancePredictor::learn(const Kernels& kernels, std::span<float> row) {
  for (std::size_t k = 0; k < width_; ++k) {
    const float a = diagonal_[k], b = row[k];
    const float root = std::sqrt(a * a + b * b);
    diagonal_[k] = root;
    if (is_diagonal_) continue;
    float* const factor = column(k);
    kernels.rotate(factor, row.data() + first(k), a / root, b / root, padded_ - first(k));
    factor[k - first(k)] = root;
    row[k] = 0.0f;
  }
  mass_ += 1.0f;
  root_mass_ = std::sqrt(mass_);
  inverse_root_mass_ = 1.0f / root_mass_;
}

}  // namespace par5::coder
