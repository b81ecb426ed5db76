// par5: the program that people call. It is LibTorch-free and starts par5-torch, in the same folder, for what needs it.
#include "cli/commands.h"
#include "cli/torch_front.h"

int main(int argc, char** argv) {
  return par5::run_program(argc, argv, "par5",
                           {
                               par5::tokenizer_command(),
                               par5::shard_command(),
                               par5::torch_front_command("train", "Train a model on shards (in par5-torch)"),
                               par5::predict_command(),
                               par5::pack_command(),
                               par5::unpack_command(),
                               par5::inspect_command(),
                               par5::verify_command(),
                               par5::eval_command(),
                               par5::generate_command(),
                               par5::bench_command(),
                               par5::prove_command(),
                               par5::compress_command(),
                               par5::decompress_command(),
                               par5::audit_command(),
                               par5::submit_command(),
                               par5::levels_command(),
                               par5::compare_command(),
                               par5::time_command(),
                               par5::report_command(),
                               par5::study_command(),
                               par5::baseline_command(),
                               par5::config_command(),
                           });
}
