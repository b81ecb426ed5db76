// par5-torch: the half of par5 that needs LibTorch. `par5` hands over to it; it never loads SentencePiece.
#include "cli/torch/torch_commands.h"
#include "core/file.h"
#include "model/runtime.h"

int main(int argc, char** argv) {
  par5::tune_allocator();
  // `par5` hands over under its own name, which messages then show.
  const std::string name = argc > 0 ? par5::file_name(argv[0]) : "par5-torch";
  return par5::run_program(argc, argv, name,
                           {par5::train_command(), par5::torch_eval_command(), par5::torch_audit_command()});
}
