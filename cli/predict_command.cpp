#include <chrono>

#include "archive/size_prediction.h"
#include "cli/artifact_text.h"
#include "cli/checkpoint_input.h"
#include "cli/commands.h"
#include "core/text.h"
#include "eval/self_test.h"

namespace par5 {
namespace {

Result<Outcome> run(const CheckpointOptions& options, const CommonOptions& common) {
  const auto start = std::chrono::steady_clock::now();
  P5_TRY(CheckpointInput input, read_checkpoint(options, common.threads));
  const auto bits = static_cast<int>(input.config.quantizer.scale_bits);
  if (bits < 16) apply_scale_bits(input.artifact.model, bits);
  // What `pack` stores besides.
  input.artifact.self_test = unscored_self_test(input.artifact.model.model);
  input.artifact.extras.push_back(arithmetic_version_entry());
  PredictOptions predict;
  predict.threads = common.threads;
  P5_TRY(const PredictedSize size, predict_size(input.artifact, predict));
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();

  Outcome outcome;
  outcome.report["checkpoint"] = input.path;
  outcome.report["predicted_bytes"] = size.file_bytes;
  ArtifactReport parts;
  parts.file_bytes = size.file_bytes;
  parts.quantised_bytes = size.quantised_bytes;
  parts.float_bytes = size.float_bytes;
  parts.scale_bytes = size.scale_bytes;
  parts.tokenizer_bytes = size.tokenizer_bytes;
  parts.metadata_bytes = size.metadata_bytes;
  parts.checksum_bytes = size.checksum_bytes;
  add_size_keys(outcome.report, parts);
  outcome.report.erase("file_bytes");
  outcome.report["scale_bits"] = bits;
  outcome.report["tokenizer"] = input.artifact.tokenizer ? "counted" : "left out";
  outcome.report["coded_share"] = size.coded_share;
  outcome.report["predict_seconds"] = seconds;
  outcome.text = describe_model(input.artifact.model) + "\n" + size_table(parts);
  outcome.text +=
      size.coded_share >= 1
          ? "every stream was coded: packing gives this size, but for streams that another codec makes smaller\n"
          : fixed(100 * size.coded_share, 1) + " % of the codes and fp8 values were coded, the rest is extrapolated\n";
  return outcome;
}

}  // namespace

Command predict_command() {
  return {"predict", "Say how large a checkpoint's artifact will be, without packing it",
          "  par5 predict runs/demo\n"
          "  par5 predict foreign.safetensors --config configs/quinary-16mb.toml --scale-bits 5 --json",
          [](CLI::App& app) -> Runner {
            auto options = std::make_shared<CheckpointOptions>();
            add_checkpoint_options(app, *options);
            return [options](const CommonOptions& common) { return run(*options, common); };
          }};
}

}  // namespace par5
