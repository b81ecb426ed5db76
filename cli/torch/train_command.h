// `par5 train`, as par5-torch runs it.
#pragma once

#include "cli/command.h"

namespace par5 {

Command train_command();

}  // namespace par5
