// `par5 audit --probes`: what a report of `par5 eval --probe --json` shows, and whether it is of the model in question.
#pragma once

#include <string>

#include "cli/command.h"

namespace par5 {

// `model`: the file whose probabilities are in question; or empty.
Result<Outcome> run_probe_audit(const std::string& file, const std::string& model);

}  // namespace par5
