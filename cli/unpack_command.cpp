#include <chrono>

#include "archive/artifact.h"
#include "cli/artifact_text.h"
#include "cli/commands.h"
#include "core/cancel.h"
#include "core/text.h"

namespace par5 {
namespace {

struct Options {
  std::string artifact;
  std::string output;
};

Result<Outcome> run(const Options& options, const CommonOptions& common) {
  P5_OK(check_output(options.output, common.overwrite()));
  const auto start = std::chrono::steady_clock::now();
  P5_TRY(const DecodedArtifact decoded, read_artifact(options.artifact, common.threads));
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  const StoredModel& model = decoded.artifact.model;

  std::vector<Tensor> tensors;
  std::vector<TensorView> views;
  for (const StoredTensor& tensor : model.tensors) {
    if (cancelled()) return interrupted();
    tensors.push_back(Tensor::from_floats(tensor.spec.name, tensor.spec.shape, tensor.values(common.threads)));
  }
  for (const Tensor& tensor : tensors) views.push_back(tensor.view());
  LoadedConfig config;
  config.values().model = model.model;
  config.values().quantizer = model.quantizer;
  auto metadata = checkpoint_metadata(config);
  metadata[kDequantizedKey] = "true";
  if (!decoded.artifact.tokenizer_sha256.empty()) metadata["par5.tokenizer_sha256"] = decoded.artifact.tokenizer_sha256;
  P5_OK(write_safetensors(options.output, views, metadata, common.overwrite()));

  Outcome outcome;
  outcome.report["output"] = options.output;
  outcome.report["tensors"] = tensors.size();
  outcome.report["decode_seconds"] = seconds;
  outcome.text = describe_model(model) + "\nwrote " + grouped(static_cast<std::int64_t>(tensors.size())) +
                 " float32 tensors to " + options.output + " (decoded in " + duration(seconds) + ")\n";
  return outcome;
}

}  // namespace

Command unpack_command() {
  return {
      "unpack", "Write an artifact's weights as float32 safetensors, for other programs",
      "  par5 unpack model.par5 -o weights.safetensors\n\n"
      "The values are the ones that count: code · scale. They are not a checkpoint: quantising them again would give\n"
      "other scales, so `par5 pack` refuses them.",
      [](CLI::App& app) -> Runner {
        auto options = std::make_shared<Options>();
        app.add_option("artifact", options->artifact, "Artifact (.par5)")->required();
        app.add_option("-o,--output", options->output, "The safetensors file to write")->required();
        return [options](const CommonOptions& common) { return run(*options, common); };
      }};
}

}  // namespace par5
