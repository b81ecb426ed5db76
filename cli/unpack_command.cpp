#include <chrono>

#include "archive/artifact.h"
#include "budgets/foreign/published_archive.h"
#include "cli/artifact_text.h"
#include "cli/commands.h"
#include "core/cancel.h"
#include "core/log.h"
#include "core/text.h"

namespace par5 {
namespace {

struct Options {
  std::string artifact;
  std::string output;
};

// The two published low-bit archives, without running their pickles.
Result<Outcome> run_import(const Options& options, const CommonOptions& common) {
  P5_TRY(const MappedFile file, MappedFile::open(options.artifact));
  P5_TRY(const ForeignArchive archive, import_archive(file.bytes(), options.artifact));
  for (const std::string& name : archive.dangerous) log_warning("its pickle names " + name + ", which was not run");
  for (const std::string& what : archive.unread) log_warning("not imported: " + what);
  if (archive.tensors.empty())
    return bad_data("no tensor of '" + options.artifact + "' could be imported", options.artifact);
  std::vector<TensorView> views;
  for (const Tensor& tensor : archive.tensors) views.push_back(tensor.view());
  P5_OK(write_safetensors(options.output, views, {{kDequantizedKey, "true"}, {"par5.imported_from", archive.format}},
                          common.overwrite()));
  Outcome outcome;
  outcome.report["output"] = options.output;
  outcome.report["format"] = archive.format;
  outcome.report["tensors"] = views.size();
  outcome.report["not_imported"] = archive.unread;
  outcome.text = archive.format + "\nwrote " + grouped(static_cast<std::int64_t>(views.size())) +
                 " float32 tensors to " + options.output +
                 (archive.unread.empty()
                      ? "\n"
                      : "; " + grouped(static_cast<std::int64_t>(archive.unread.size())) + " were not imported\n");
  return outcome;
}

Result<Outcome> run(const Options& options, const CommonOptions& common) {
  P5_OK(check_output(options.output, common.overwrite()));
  if (options.artifact.ends_with(".ptz")) return run_import(options, common);
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
      "  par5 unpack model.par5 -o weights.safetensors\n"
      "  par5 unpack final_model.ptz -o weights.safetensors    # the published ternary and quinary archives\n\n"
      "The values are the ones that count: code · scale. They are not a checkpoint: quantising them again would give\n"
      "other scales, so `par5 pack` refuses them.",
      [](CLI::App& app) -> Runner {
        auto options = std::make_shared<Options>();
        app.add_option("artifact", options->artifact, "Artifact (.par5), or a published archive (.ptz)")->required();
        app.add_option("-o,--output", options->output, "The safetensors file to write")->required();
        return [options](const CommonOptions& common) { return run(*options, common); };
      }};
}

}  // namespace par5
