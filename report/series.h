// Curves of any length as a bounded number of points.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace par5 {

struct SeriesPoint {
  double x = 0;
  double y = 0;
};

// One point of a drawn curve: the mean of a stretch of the series with its lowest and highest value.
struct EnvelopePoint {
  double x = 0;  // mean
  double mean = 0;
  double lowest = 0;
  double highest = 0;
};

// At most `most` stretches of equally many points, in order. Points that are not finite are left out.
std::vector<EnvelopePoint> envelope(const std::vector<SeriesPoint>& series, std::size_t most);

// Round numbers (1, 2 or 5 times a power of ten apart) in [low, high], about `count` of them.
std::vector<double> ticks(double low, double high, int count);
// As few digits as tell ticks that are `step` apart from each other; thousands grouped.
std::string tick_text(double value, double step);

}  // namespace par5
