// Two-column tables for people: names to the left, values to the right.
#pragma once

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

namespace par5 {

using TableRow = std::pair<std::string, std::string>;

// Columns of fixed width; longer text is left as it is. Widths count bytes.
inline std::string pad_right(const std::string& text, std::size_t width) {
  return text + std::string(text.size() < width ? width - text.size() : 0, ' ');
}
inline std::string pad_left(const std::string& text, std::size_t width) {
  return std::string(text.size() < width ? width - text.size() : 0, ' ') + text;
}

inline std::string two_columns(const std::vector<TableRow>& rows) {
  std::size_t width = 0;
  for (const auto& [name, value] : rows) width = std::max(width, name.size());
  std::string text;
  for (const auto& [name, value] : rows) text += name + std::string(width + 2 - name.size(), ' ') + value + "\n";
  return text;
}

}  // namespace par5
