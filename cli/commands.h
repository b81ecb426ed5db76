// The commands of `par5`, one maker each, in cli/<name>_command.cpp.
#pragma once

#include "cli/command.h"

namespace par5 {

Command audit_command();
Command baseline_command();
Command config_command();

}  // namespace par5
