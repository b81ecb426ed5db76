// A fact and where it was read.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace par5 {

struct Place {
  std::string file;      // name within the folder
  std::size_t line = 0;  // from 1; 0: not of a line
  std::string key;       // of JSON: "seed_results.42.val_bpb"
};
// "train.log:437", "submission.json (bytes_total)"
std::string to_string(const Place& place);

template <class T>
struct Located {
  T value{};
  Place place;
};

// A number as printed: `digits` after the point, so that its rounding interval is value ± half a unit of the last
// digit.
struct PrintedNumber {
  double value = 0;
  int digits = 0;
};

// Reads the number at the start of `text`: "1.1384", "15,724,839", "15_724_839", "~1.12", "<0.001", "-0.5e-3". Nothing
// where there is none. `end`, if given, is set behind it.
std::optional<PrintedNumber> printed_number(std::string_view text, std::size_t* end = nullptr);

}  // namespace par5
