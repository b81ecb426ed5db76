// How the LibTorch-free front hands commands over to par5-torch.
#pragma once

#include <string>

#include "cli/command.h"

namespace par5 {

// Replaces this process by par5-torch, in the same folder, with this process's own arguments. Returns only if that
// fails: missing_tool, with the way to build it, where there is no par5-torch.
Error hand_over_to_torch();

// A command that par5-torch runs: all its arguments, --help included, are handed over.
Command torch_front_command(std::string name, std::string summary);

}  // namespace par5
