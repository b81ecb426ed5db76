// How the LibTorch-free front hands commands over to par5-torch.
#pragma once

#include <string>

#include "cli/command.h"

namespace par5 {

// Replaces this process by par5-torch, in the same folder, with this process's own arguments. Returns only if that
// fails: missing_tool, with the way to build it, where there is no par5-torch.
Error hand_over_to_torch();

bool torch_is_built();

// Runs par5-torch with this process's own arguments and the shards that were made of the text among them, and waits:
// the shards are temporary. Its exit status. The command must take --shards.
Result<int> run_torch_on_shards(const std::string& command, const std::string& shards);

// A command that par5-torch runs: all its arguments, --help included, are handed over.
Command torch_front_command(std::string name, std::string summary);

}  // namespace par5
