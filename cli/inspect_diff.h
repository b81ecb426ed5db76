// `par5 inspect --diff A B`: where two artifacts differ.
#pragma once

#include <string>

#include "cli/command.h"

namespace par5 {

// Sizes by kind and by tensor, values that differ, and configuration keys that do.
Result<Outcome> inspect_difference(const std::string& first, const std::string& second, const CommonOptions& common);

}  // namespace par5
