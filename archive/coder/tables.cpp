#include "archive/coder/tables.h"

#include <memory>

namespace par5::coder {
namespace {

constexpr double kLn2 = 0.69314718055994530942;

// exp by 14 terms of the series at x / 1024, squared ten times.
double exponential(double x) {
  const double small = x / 1024.0;
  double sum = 1.0, term = 1.0;
  for (int k = 1; k <= 14; ++k) {
    term = term * small / k;
    sum = sum + term;
  }
  for (int i = 0; i < 10; ++i) sum = sum * sum;
  return sum;
}

// ln(x) = exponent · ln 2 + 2 artanh((m - 1) / (m + 1)) with m from 0.75 to 1.5, by 20 terms. x is positive.
double logarithm(double x) {
  int exponent = 0;
  while (x >= 1.5) x = x / 2.0, ++exponent;
  while (x < 0.75) x = x * 2.0, --exponent;
  const double ratio = (x - 1.0) / (x + 1.0), square = ratio * ratio;
  double power = ratio, sum = 0.0;
  for (int k = 0; k < 20; ++k) {
    sum = sum + power / (2 * k + 1);
    power = power * square;
  }
  return exponent * kLn2 + 2.0 * sum;
}

double normal_density(double t) { return 0.39894228040143267794 * exponential(-t * t / 2.0); }

void fill_tail(Tables& tables) {
  // Simpson's rule from t = 12 (where the tail is taken as 0) downwards, one step per entry.
  constexpr double step = 1.0 / Tables::kTailSteps;
  const int last = static_cast<int>(tables.tail.size()) - 1;
  double sum = 0.0;
  for (int i = 20 * Tables::kTailSteps - 1; i >= 0; --i) {
    const double t = i * step - Tables::kTailLimit;
    sum = sum + (normal_density(t) + 4.0 * normal_density(t + step / 2.0) + normal_density(t + step)) * step / 6.0;
    if (i <= last) {
      tables.tail[static_cast<std::size_t>(i)] = static_cast<float>(sum);
      tables.log_tail[static_cast<std::size_t>(i)] = static_cast<float>(logarithm(sum));
    }
  }
}

Tables make_tables() {
  Tables tables;
  for (int i = 0; i < Tables::kStretchSize; ++i) {
    const double p = (i + 0.5) / Tables::kStretchSize;
    tables.stretch[static_cast<std::size_t>(i)] = static_cast<float>(logarithm(p / (1.0 - p)));
  }
  for (std::size_t i = 0; i < tables.squash.size(); ++i) {
    const double x = static_cast<double>(i) / Tables::kSquashSteps - Tables::kSquashLimit;
    tables.squash[i] = static_cast<float>(1.0 / (1.0 + exponential(-x)));
  }
  fill_tail(tables);
  for (std::size_t i = 0; i < tables.odds.size(); ++i) {
    // The entry stands for the d whose bits odds() maps to i: linear within an octave.
    const int octave = static_cast<int>(i) / Tables::kOddsSteps;
    double d = 1.0 + static_cast<double>(static_cast<int>(i) % Tables::kOddsSteps) / Tables::kOddsSteps;
    for (int k = octave + Tables::kOddsLowest; k < 0; ++k) d = d / 2.0;
    for (int k = octave + Tables::kOddsLowest; k > 0; --k) d = d * 2.0;
    tables.odds[i] = static_cast<float>(-logarithm(exponential(d) - 1.0));
  }
  for (int n = 0; n < Tables::kRateSize; ++n) {
    tables.rate[static_cast<std::size_t>(n)] = static_cast<float>(1.0 / (std::min(n + 1, Tables::kRateSize - 1) + 0.7));
    tables.confidence[static_cast<std::size_t>(n)] = static_cast<float>(n / (n + 3.0));
  }
  return tables;
}

}  // namespace

const Tables& Tables::get() {
  static const std::unique_ptr<const Tables> tables = std::make_unique<const Tables>(make_tables());
  return *tables;
}

}  // namespace par5::coder
