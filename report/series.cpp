#include "report/series.h"

#include <algorithm>
#include <cmath>

#include "core/text.h"

namespace par5 {

std::vector<EnvelopePoint> envelope(const std::vector<SeriesPoint>& series, std::size_t most) {
  std::vector<SeriesPoint> finite;
  std::copy_if(series.begin(), series.end(), std::back_inserter(finite),
               [](const SeriesPoint& point) { return std::isfinite(point.x) && std::isfinite(point.y); });
  std::vector<EnvelopePoint> out;
  const std::size_t stretches = std::min(most, finite.size());
  for (std::size_t i = 0; i < stretches; ++i) {
    const std::size_t first = i * finite.size() / stretches, last = (i + 1) * finite.size() / stretches;
    EnvelopePoint point{0, 0, finite[first].y, finite[first].y};
    for (std::size_t j = first; j < last; ++j) {
      point.x += finite[j].x;
      point.mean += finite[j].y;
      point.lowest = std::min(point.lowest, finite[j].y);
      point.highest = std::max(point.highest, finite[j].y);
    }
    point.x /= static_cast<double>(last - first);
    point.mean /= static_cast<double>(last - first);
    out.push_back(point);
  }
  return out;
}

std::vector<double> ticks(double low, double high, int count) {
  if (!(high > low)) return {low};
  const double rough = (high - low) / std::max(1, count), power = std::pow(10.0, std::floor(std::log10(rough)));
  const double factor = rough / power;
  const double step = power * (factor < 1.5 ? 1 : factor < 3.5 ? 2 : factor < 7.5 ? 5 : 10);
  std::vector<double> out;
  // Indices, so that errors do not add up.
  for (double i = std::ceil(low / step - 1e-9); i * step <= high + 1e-9 * step; ++i)
    out.push_back(i == 0 ? 0 : i * step);
  return out;
}

std::string tick_text(double value, double step) {
  const int digits = step >= 1 ? 0 : std::min(9, static_cast<int>(std::ceil(-std::log10(step) - 1e-9)));
  return digits == 0 && std::fabs(value) < 9e15 ? grouped(static_cast<std::int64_t>(std::llround(value)))
                                                : fixed(value, digits);
}

}  // namespace par5
