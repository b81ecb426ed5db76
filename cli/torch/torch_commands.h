// The commands of `par5-torch`, one maker each, in cli/torch/<name>_command.cpp.
#pragma once

#include "cli/command.h"

namespace par5 {

Command torch_audit_command();
Command torch_eval_command();
Command train_command();

}  // namespace par5
