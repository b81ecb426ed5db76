// Charts as inline SVG. Colours are CSS classes of the page, so that light, dark and print each have their own; every
// chart has a title and a description for those who do not see it.
#pragma once

#include <string>
#include <vector>

#include "report/series.h"

namespace par5 {

// Text for HTML and SVG: & < > " ' escaped, control characters dropped.
std::string escaped(std::string_view text);

struct Curve {
  std::string name;
  std::vector<EnvelopePoint> points;
  bool dots = false;  // points one by one, joined; for few measurements
};

struct LineChart {
  std::string title, description;
  std::string x_label, y_label;
  std::vector<Curve> curves;  // the i-th has the class "curve ci", i modulo 6, and its own dashes
  bool legend = false;        // names inside the chart, top left
};
std::string draw(const LineChart& chart);

// A point per row, with a 95 % interval where `half_width` > 0.
struct DotRow {
  std::string label;
  double value = 0;
  double half_width = 0;
  std::string text;    // printed at the right
  bool muted = false;  // for reference values
};
struct DotChart {
  std::string title, description;
  std::string x_label;
  std::vector<DotRow> rows;
};
std::string draw(const DotChart& chart);

// Small bars side by side with a label under each; `expected` (same length or empty) is drawn as marks.
struct Histogram {
  std::string title, description;
  std::vector<std::string> labels;
  std::vector<double> shares;  // sum to 1
  std::vector<double> expected;
  bool small = false;  // without labels of the bars' heights
};
std::string draw(const Histogram& histogram);

// A row of fields from left to right, darker for higher values, with a legend of nine shades; bars below them for
// counts.
struct HeatStrip {
  std::string title, description;
  std::string x_label;
  std::string unit;                 // of the values, in the legend
  std::vector<double> values;       // NaN: an empty field
  std::vector<std::string> titles;  // of the fields, shown on hovering
  std::vector<double> counts;       // one per field, or empty
  std::string count_label;
};
std::string draw(const HeatStrip& strip);

// A chart as a file of its own, with the page's colours.
std::string standalone(const std::string& svg);

// One bar of parts that sum to `whole`; the i-th part has the class "part pi".
std::string bar(const std::vector<double>& parts, double whole, const std::string& title);

}  // namespace par5
