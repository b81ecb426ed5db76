// Two-column tables for people: names to the left, values to the right.
#pragma once

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

namespace par5 {

using TableRow = std::pair<std::string, std::string>;

inline std::string two_columns(const std::vector<TableRow>& rows) {
  std::size_t width = 0;
  for (const auto& [name, value] : rows) width = std::max(width, name.size());
  std::string text;
  for (const auto& [name, value] : rows) text += name + std::string(width + 2 - name.size(), ' ') + value + "\n";
  return text;
}

}  // namespace par5
