// The rule files as text, written by CMake from budgets/rules/*.toml.
#pragma once

#include <string_view>
#include <utility>
#include <vector>

namespace par5 {

const std::vector<std::pair<std::string_view, std::string_view>>& builtin_rules();

}  // namespace par5
