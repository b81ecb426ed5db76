#include "report/chart.h"

#include <algorithm>
#include <cmath>

#include "core/text.h"
#include "report/style.h"

namespace par5 {
namespace {

// Coordinates to a tenth: a page of ten thousand points stays small.
std::string coordinate(double value) {
  std::string text = fixed(value, 1);
  if (text.ends_with(".0")) text.resize(text.size() - 2);
  return text == "-0" ? "0" : text;
}

class Svg {
 public:
  Svg(double width, double height, const std::string& title, const std::string& description,
      const std::string& style_class) {
    out_ = "<svg class=\"" + style_class + "\" viewBox=\"0 0 " + coordinate(width) + " " + coordinate(height) +
           "\" role=\"img\"><title>" + escaped(title) + "</title><desc>" + escaped(description) + "</desc>";
  }
  void line(double x1, double y1, double x2, double y2, const std::string& style_class) {
    out_ += "<line x1=\"" + coordinate(x1) + "\" y1=\"" + coordinate(y1) + "\" x2=\"" + coordinate(x2) + "\" y2=\"" +
            coordinate(y2) + "\" class=\"" + style_class + "\"/>";
  }
  void rectangle(double x, double y, double width, double height, const std::string& style_class,
                 const std::string& title = {}) {
    out_ += "<rect x=\"" + coordinate(x) + "\" y=\"" + coordinate(y) + "\" width=\"" +
            coordinate(std::max(0.0, width)) + "\" height=\"" + coordinate(std::max(0.0, height)) + "\" class=\"" +
            style_class + (title.empty() ? "\"/>" : "\"><title>" + escaped(title) + "</title></rect>");
  }
  void circle(double x, double y, double radius, const std::string& style_class) {
    out_ += "<circle cx=\"" + coordinate(x) + "\" cy=\"" + coordinate(y) + "\" r=\"" + coordinate(radius) +
            "\" class=\"" + style_class + "\"/>";
  }
  // anchor: start, middle, end
  void text(double x, double y, const std::string& anchor, const std::string& text,
            const std::string& style_class = "label") {
    out_ += "<text x=\"" + coordinate(x) + "\" y=\"" + coordinate(y) + "\" text-anchor=\"" + anchor + "\" class=\"" +
            style_class + "\">" + escaped(text) + "</text>";
  }
  void vertical_text(double x, double y, const std::string& text) {
    out_ += "<text transform=\"translate(" + coordinate(x) + " " + coordinate(y) +
            ") rotate(-90)\" text-anchor=\"middle\" class=\"label\">" + escaped(text) + "</text>";
  }
  void path(const std::string& d, const std::string& style_class) {
    out_ += "<path d=\"" + d + "\" class=\"" + style_class + "\"/>";
  }
  std::string finish() { return out_ + "</svg>"; }

 private:
  std::string out_;
};

struct Axis {
  double low = 0, high = 1;  // of the data
  double from = 0, to = 1;   // of the drawing
  double at(double value) const { return from + (value - low) / (high - low) * (to - from); }
};

// The range of values with a little air, never empty.
void fit(Axis& axis, double low, double high) {
  if (!(high > low)) {
    const double air = std::max(1e-6, std::fabs(low) * 0.01);
    low -= air;
    high += air;
  }
  axis.low = low;
  axis.high = high;
}

double tick_step(const std::vector<double>& values) {
  return values.size() > 1 ? values[1] - values[0] : std::fabs(values.empty() ? 1 : values[0]);
}

}  // namespace

std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        if (static_cast<unsigned char>(c) >= 0x20 || c == '\n') out += c;
    }
  }
  return out;
}

std::string draw(const LineChart& chart) {
  constexpr double kWidth = 720, kHeight = 300, kLeft = 92, kRight = 30, kTop = 14, kBottom = 46;
  Svg svg(kWidth, kHeight, chart.title, chart.description, "chart");
  double x_low = INFINITY, x_high = -INFINITY, y_low = INFINITY, y_high = -INFINITY;
  for (const Curve& curve : chart.curves)
    for (const EnvelopePoint& point : curve.points) {
      x_low = std::min(x_low, point.x);
      x_high = std::max(x_high, point.x);
      y_low = std::min(y_low, point.lowest);
      y_high = std::max(y_high, point.highest);
    }
  if (!(x_high >= x_low)) return {};
  Axis x{0, 1, kLeft, kWidth - kRight}, y{0, 1, kHeight - kBottom, kTop};
  fit(x, x_low, x_high);
  fit(y, y_low - 0.04 * (y_high - y_low), y_high + 0.04 * (y_high - y_low));
  const auto y_ticks = ticks(y.low, y.high, 5), x_ticks = ticks(x.low, x.high, 7);
  for (const double tick : y_ticks) {
    svg.line(kLeft, y.at(tick), kWidth - kRight, y.at(tick), "grid");
    svg.text(kLeft - 8, y.at(tick) + 4, "end", tick_text(tick, tick_step(y_ticks)));
  }
  for (const double tick : x_ticks) {
    svg.line(x.at(tick), kHeight - kBottom, x.at(tick), kHeight - kBottom + 5, "axis");
    svg.text(x.at(tick), kHeight - kBottom + 19, "middle", tick_text(tick, tick_step(x_ticks)));
  }
  svg.line(kLeft, kHeight - kBottom, kWidth - kRight, kHeight - kBottom, "axis");
  svg.text((kLeft + kWidth - kRight) / 2, kHeight - 7, "middle", chart.x_label);
  svg.vertical_text(15, (kTop + kHeight - kBottom) / 2, chart.y_label);
  for (std::size_t i = 0; i < chart.curves.size(); ++i) {
    const Curve& curve = chart.curves[i];
    const std::string number = " c" + std::to_string(i % 6);
    std::string upper, lower, mean;
    bool wide = false;
    for (std::size_t j = 0; j < curve.points.size(); ++j) {
      const EnvelopePoint &point = curve.points[j], &back = curve.points[curve.points.size() - 1 - j];
      mean += (j ? "L" : "M") + coordinate(x.at(point.x)) + " " + coordinate(y.at(point.mean));
      upper += (j ? "L" : "M") + coordinate(x.at(point.x)) + " " + coordinate(y.at(point.highest));
      lower += "L" + coordinate(x.at(back.x)) + " " + coordinate(y.at(back.lowest));
      wide = wide || point.highest > point.lowest;
    }
    if (wide) svg.path(upper + lower + "Z", "band" + number);
    svg.path(mean, "curve" + number);
    if (curve.dots)
      for (const EnvelopePoint& point : curve.points) svg.circle(x.at(point.x), y.at(point.mean), 3.5, "dot" + number);
  }
  for (std::size_t i = 0; chart.legend && i < chart.curves.size(); ++i) {
    const double line_y = kTop + 12 + 18 * static_cast<double>(i);
    svg.line(kLeft + 12, line_y, kLeft + 46, line_y, "curve c" + std::to_string(i % 6));
    svg.text(kLeft + 54, line_y + 4, "start", chart.curves[i].name, "value");
  }
  return svg.finish();
}

std::string draw(const DotChart& chart) {
  constexpr double kWidth = 720, kRow = 26, kTop = 8, kBottom = 44, kLeft = 190, kRight = 122;
  if (chart.rows.empty()) return {};
  const double height = kTop + kRow * static_cast<double>(chart.rows.size()) + kBottom;
  Svg svg(kWidth, height, chart.title, chart.description, "chart");
  double low = INFINITY, high = -INFINITY;
  for (const DotRow& row : chart.rows) {
    low = std::min(low, row.value - row.half_width);
    high = std::max(high, row.value + row.half_width);
  }
  Axis x{0, 1, kLeft, kWidth - kRight};
  fit(x, low - 0.05 * (high - low), high + 0.05 * (high - low));
  const auto x_ticks = ticks(x.low, x.high, 5);
  for (const double tick : x_ticks) {
    svg.line(x.at(tick), kTop, x.at(tick), height - kBottom, "grid");
    svg.text(x.at(tick), height - kBottom + 18, "middle", tick_text(tick, tick_step(x_ticks)));
  }
  svg.text((kLeft + kWidth - kRight) / 2, height - 6, "middle", chart.x_label);
  for (std::size_t i = 0; i < chart.rows.size(); ++i) {
    const DotRow& row = chart.rows[i];
    const double y = kTop + kRow * (static_cast<double>(i) + 0.5);
    svg.text(kLeft - 10, y + 4, "end", row.label);
    if (row.half_width > 0)
      svg.line(x.at(row.value - row.half_width), y, x.at(row.value + row.half_width), y, "interval");
    svg.circle(x.at(row.value), y, 4.5, row.muted ? "dot muted" : "dot c0");
    svg.text(kWidth - kRight + 12, y + 4, "start", row.text, "value");
  }
  return svg.finish();
}

std::string draw(const Histogram& histogram) {
  const double bars = static_cast<double>(histogram.shares.size());
  const double width = histogram.small ? 150 : std::max(300.0, 64 * std::min(bars, 15.0)),
               height = histogram.small ? 74 : 200;
  const double top = histogram.small ? 4 : 20, bottom = histogram.small ? 15 : 24, slot = width / bars;
  Svg svg(width, height, histogram.title, histogram.description, histogram.small ? "histogram small" : "histogram");
  double most = 1e-9;
  for (const double share : histogram.shares) most = std::max(most, share);
  for (const double share : histogram.expected) most = std::max(most, share);
  const double base = height - bottom, unit = (base - top) / most;
  // Labels only as dense as they can be read.
  const std::size_t every = static_cast<std::size_t>(std::ceil(bars / (histogram.small ? 9 : 16)));
  for (std::size_t i = 0; i < histogram.shares.size(); ++i) {
    const double x = slot * (static_cast<double>(i) + 0.5), share = histogram.shares[i];
    svg.rectangle(x - 0.39 * slot, base - share * unit, 0.78 * slot, share * unit, "bar",
                  histogram.labels[i] + ": " + fixed(100 * share, 2) + " %");
    if (i < histogram.expected.size())
      svg.line(x - 0.45 * slot, base - histogram.expected[i] * unit, x + 0.45 * slot,
               base - histogram.expected[i] * unit, "mark");
    if (i % every == 0) svg.text(x, height - (histogram.small ? 3 : 7), "middle", histogram.labels[i]);
    if (!histogram.small && bars <= 9)
      svg.text(x, base - share * unit - 6, "middle", fixed(100 * share, 1) + " %", "value");
  }
  svg.line(0, base, width, base, "axis");
  return svg.finish();
}

std::string draw(const HeatStrip& strip) {
  constexpr double kWidth = 720, kTop = 4, kStrip = 46, kCounts = 34;
  constexpr int kShades = 9;
  // The shades span the middle 96 % of the values, so that one odd field does not wash out the rest.
  std::vector<double> sorted;
  for (const double value : strip.values)
    if (std::isfinite(value)) sorted.push_back(value);
  if (sorted.empty()) return {};
  std::sort(sorted.begin(), sorted.end());
  const std::size_t margin = sorted.size() / 50;
  const double low = sorted[margin], high = sorted[sorted.size() - 1 - margin],
               most = strip.counts.empty() ? 0 : *std::max_element(strip.counts.begin(), strip.counts.end());
  const double counts_top = kTop + kStrip + 6, counts_height = most > 0 ? kCounts : 0,
               base = counts_top + counts_height, slot = kWidth / static_cast<double>(strip.values.size());
  Svg svg(kWidth, base + 58, strip.title, strip.description, "chart");
  for (std::size_t i = 0; i < strip.values.size(); ++i) {
    const double value = strip.values[i], x = slot * static_cast<double>(i);
    if (std::isfinite(value)) {
      const double place = high > low ? (value - low) / (high - low) : 0.5;
      svg.rectangle(x, kTop, slot, kStrip,
                    "h" + std::to_string(std::clamp(static_cast<int>(place * kShades), 0, kShades - 1)),
                    strip.titles[i]);
    }
    if (most > 0 && strip.counts[i] > 0)
      svg.rectangle(x, base - counts_height * strip.counts[i] / most, std::max(slot - 0.5, 0.5),
                    counts_height * strip.counts[i] / most, "bar");
  }
  svg.line(0, base, kWidth, base, "axis");
  svg.text(0, base + 16, "start", strip.x_label);
  if (most > 0) svg.text(kWidth, base + 16, "end", strip.count_label + ", at most " + tick_text(most, 1));
  for (int shade = 0; shade < kShades; ++shade)
    svg.rectangle(24.0 * shade, base + 28, 24, 12, "h" + std::to_string(shade));
  svg.text(0, base + 54, "start", fixed(low, 3));
  svg.text(24.0 * kShades, base + 54, "end", fixed(high, 3));
  svg.text(24.0 * kShades + 10, base + 38, "start", strip.unit);
  return svg.finish();
}

std::string standalone(const std::string& svg) {
  std::string out = svg;
  out.insert(4, " xmlns=\"http://www.w3.org/2000/svg\" width=\"720\"");
  out.insert(out.find('>') + 1, std::string("<style>") + kStyle + "svg{background:var(--card)}</style>");
  return out + "\n";
}

std::string bar(const std::vector<double>& parts, double whole, const std::string& title) {
  std::string out = "<svg class=\"sizebar\" viewBox=\"0 0 100 10\" preserveAspectRatio=\"none\" role=\"img\"><title>" +
                    escaped(title) + "</title>";
  double x = 0;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const double width = whole > 0 ? 100 * parts[i] / whole : 0;
    if (width > 0)
      out += "<rect x=\"" + fixed(x, 2) + "\" y=\"0\" width=\"" + fixed(width, 2) + "\" height=\"10\" class=\"part p" +
             std::to_string(i) + "\"/>";
    x += width;
  }
  return out + "</svg>";
}

}  // namespace par5
