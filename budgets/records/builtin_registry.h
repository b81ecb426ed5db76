// The registry files as text, written by CMake from budgets/registry/*.toml.
#pragma once

#include <string_view>
#include <utility>
#include <vector>

namespace par5 {

const std::vector<std::pair<std::string_view, std::string_view>>& builtin_registry();

}  // namespace par5
