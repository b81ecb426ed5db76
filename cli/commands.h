// The commands of `par5`, one maker each, in cli/<name>_command.cpp.
#pragma once

#include "cli/command.h"

namespace par5 {

Command audit_command();
Command baseline_command();
Command bench_command();
Command compare_command();
Command compress_command();
Command config_command();
Command decompress_command();
Command eval_command();
Command generate_command();
Command inspect_command();
Command levels_command();
Command pack_command();
Command predict_command();
Command prove_command();
Command unpack_command();
Command verify_command();
Command report_command();
Command shard_command();
Command submit_command();
Command study_command();
Command time_command();
Command tokenizer_command();

}  // namespace par5
