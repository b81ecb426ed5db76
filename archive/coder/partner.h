// A row may repeat a part of its partner, the row a fixed distance before it (heads that share a key-value head do).
// Both are compared by their errors: what is left of a value, in deviations, once the covariances have predicted it.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

#include "archive/coder/tables.h"

namespace par5::coder {

class PartnerRows {
 public:
  // Rows of `width` values; distance 0: there are no partners.
  PartnerRows(std::size_t distance, std::size_t width)
      : distance_(distance), width_(width), errors_(distance * width), fresh_(distance > 0 ? width : 0) {}

  // What the partner says of value c: the error to expect, and the factor by which knowing it shrinks the deviation.
  struct Hint {
    float error = 0.0f;
    float factor = 1.0f;
  };

  void begin_row(std::size_t r) {
    partner_ = distance_ > 0 && r >= distance_ ? &errors_[(r % distance_) * width_] : nullptr;
    product_ = ratio_ * kPrior;
    squares_ = kPrior;
  }

  Hint hint(std::size_t c) const {
    if (!partner_) return {};
    // The regression coefficient so far, shrunk by what chance alone gives.
    const float ratio = product_ / squares_, certain = ratio * ratio - kDoubt / squares_;
    if (!(certain > 0.0f)) return {};
    const float share = certain / ratio;
    return {share * partner_[c], std::sqrt(clamp(1.0f - share * share, 0.1f, 1.0f))};
  }

  void observe(std::size_t c, float error) {
    if (distance_ == 0) return;
    fresh_[c] = clamp(error, -kMostError, kMostError);
    if (!partner_) return;
    product_ = product_ + fresh_[c] * partner_[c];
    squares_ = squares_ + partner_[c] * partner_[c];
  }

  void end_row(std::size_t r) {
    if (distance_ == 0) return;
    ratio_ = partner_ ? product_ / squares_ : 0.0f;
    std::copy(fresh_.begin(), fresh_.end(), errors_.begin() + static_cast<std::ptrdiff_t>((r % distance_) * width_));
  }

 private:
  static constexpr float kPrior = 40.0f;  // the row before counts as this many values
  static constexpr float kDoubt = 4.0f;   // squared standard errors below which a coefficient counts as chance
  static constexpr float kMostError = 4.0f;

  std::size_t distance_, width_;
  std::vector<float> errors_;  // of the last `distance` rows
  std::vector<float> fresh_;   // of this row
  const float* partner_ = nullptr;
  float product_ = 0.0f, squares_ = kPrior;
  float ratio_ = 0.0f;  // the last row's coefficient
};

}  // namespace par5::coder
