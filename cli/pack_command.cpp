#include <chrono>
#include <optional>

#include "archive/artifact.h"
#include "cli/artifact_text.h"
#include "cli/commands.h"
#include "core/hash.h"
#include "core/log.h"
#include "core/text.h"
#include "eval/self_test.h"
#include "tokenizer/model_file.h"
#include "tokenizer/shards/token_bytes.h"

namespace par5 {
namespace {

struct Options {
  std::string checkpoint;
  std::string output;
  std::string config;
  std::string tokenizer;
  std::optional<int> scale_bits;
  std::optional<int> effort;
  bool no_tokenizer = false;
};

// A run folder holds one safetensors file: its model.
Result<std::string> find_checkpoint(const std::string& path) {
  if (!is_folder(path)) return path;
  P5_TRY(const auto names, list_folder(path));
  std::vector<std::string> found;
  for (const std::string& name : names)
    if (name.ends_with(".safetensors")) found.push_back(join_path(path, name));
  if (found.size() == 1) return found[0];
  return usage_error("the folder '" + path + "' holds " + std::to_string(found.size()) +
                     " safetensors files where one is expected; name the file");
}

// The tokenizer that goes with the checkpoint: the one that --tokenizer names, else tokenizer.model beside it.
Result<std::optional<std::string>> find_tokenizer(const Options& options, const std::string& checkpoint) {
  if (!options.tokenizer.empty()) return options.tokenizer;
  const std::string beside = join_path(parent_folder(checkpoint), "tokenizer.model");
  if (file_exists(beside)) return beside;
  return std::nullopt;
}

// What n-bit scales change, worst and mean over all tensors.
struct ScaleCost {
  double max_percent = 0;
  double rms_percent = 0;
};

ScaleCost apply_scale_bits(StoredModel& model, int bits) {
  ScaleCost cost;
  double squares = 0, scales = 0;
  for (StoredTensor& tensor : model.tensors)
    if (auto* quantized = std::get_if<QuantizedTensor>(&tensor.data)) {
      const ScaleError error = apply_scale_bits(*quantized, bits);
      cost.max_percent = std::max(cost.max_percent, error.max_percent());
      squares += error.rms_percent() * error.rms_percent() * static_cast<double>(error.scales);
      scales += static_cast<double>(error.scales);
    }
  if (scales > 0) cost.rms_percent = std::sqrt(squares / scales);
  model.quantizer.scale_bits = bits;
  return cost;
}

Result<Outcome> run(const Options& options, const CommonOptions& common) {
  P5_OK(check_output(options.output, common.overwrite()));
  P5_TRY(const std::string path, find_checkpoint(options.checkpoint));
  P5_TRY(const SafetensorsFile file, SafetensorsFile::open(path));
  P5_TRY(LoadedConfig config, checkpoint_config(file, path, options.config));
  if (options.scale_bits)
    P5_OK(config.apply_assignment("quantizer.scale_bits=" + std::to_string(*options.scale_bits), "--scale-bits"));
  if (options.effort) P5_OK(config.apply_assignment("pack.effort=" + std::to_string(*options.effort), "--effort"));
  const Config& values = config.values();
  P5_OK(check_model(values.model, values.quantizer));
  P5_TRY(const MatchedTensors matched, match_tensors(file, values.model, path));
  if (!matched.dropped.empty())
    log_warning("left out of the artifact because they carry nothing: " + join(matched.dropped, ", "));

  const auto start = std::chrono::steady_clock::now();
  Artifact artifact;
  const auto bits = static_cast<int>(values.quantizer.scale_bits);
  QuantizerConfig quantizer = values.quantizer;
  quantizer.scale_bits = 16;
  auto stored = store_checkpoint(matched, values.model, quantizer, common.threads);
  if (!stored) return tl::unexpected(stored.error().in_file(path));
  artifact.model = std::move(*stored);
  ScaleCost cost;
  if (bits < 16) cost = apply_scale_bits(artifact.model, bits);

  P5_TRY(const auto tokenizer_path, find_tokenizer(options, path));
  if (tokenizer_path) {
    P5_TRY(ModelFile tokenizer, read_model_file(*tokenizer_path));
    const auto pieces = static_cast<std::int64_t>(tokenizer.tokenizer.pieces.size());
    if (pieces != values.model.vocab)
      return usage_error("the tokenizer '" + *tokenizer_path + "' has " + grouped(pieces) +
                             " pieces and the model's vocabulary " + grouped(values.model.vocab) +
                             "; name the model's own with --tokenizer FILE, or leave it out with --no-tokenizer",
                         "--tokenizer");
    artifact.tokenizer_sha256 = tokenizer_sha256(tokenizer.tokenizer);
    if (!options.no_tokenizer) artifact.tokenizer = std::move(tokenizer.tokenizer);
  }

  P5_TRY(artifact.self_test, make_self_test(artifact.model, artifact.temperature, common.threads));
  artifact.extras.push_back(arithmetic_version_entry());
  P5_TRY(const EncodedArtifact encoded,
         encode_artifact(artifact, {static_cast<int>(values.pack.effort), common.threads}));
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  P5_OK(write_file(options.output, encoded.bytes, common.overwrite()));

  Outcome outcome;
  outcome.report["checkpoint"] = path;
  outcome.report["output"] = options.output;
  add_size_keys(outcome.report, encoded.report);
  outcome.report["tensors"] = encoded.report.tensors.size();
  outcome.report["scale_bits"] = bits;
  if (bits < 16) outcome.report["scale_error"] = {{"max_percent", cost.max_percent}, {"rms_percent", cost.rms_percent}};
  outcome.report["tokenizer"] = artifact.tokenizer ? "stored" : "left out";
  outcome.report["tokenizer_sha256"] = artifact.tokenizer_sha256.empty()
                                           ? nlohmann::ordered_json(nullptr)
                                           : nlohmann::ordered_json(artifact.tokenizer_sha256);
  outcome.report["dropped"] = matched.dropped;
  outcome.report["effort"] = values.pack.effort;
  outcome.report["codec_versions"] = encoded.report.codec_versions;
  outcome.report["sha256"] = sha256_hex(encoded.bytes);
  outcome.report["encode_seconds"] = seconds;

  outcome.text = describe_model(artifact.model) + "\n" + size_table(encoded.report);
  if (bits < 16)
    outcome.text += std::to_string(bits) + "-bit scales change weights by " + fixed(cost.rms_percent, 2) +
                    " % (root mean square), at most " + fixed(cost.max_percent, 2) + " %\n";
  if (!artifact.tokenizer)
    outcome.text +=
        options.no_tokenizer
            ? "the tokenizer is left out: commands on text will need --tokenizer FILE\n"
            : "no tokenizer.model lies beside the checkpoint, so the artifact has none: commands on text will "
              "need --tokenizer FILE (store one with `par5 pack --tokenizer FILE`)\n";
  outcome.text += "wrote " + options.output + " in " + duration(seconds) + ", decoded again and compared: identical\n";
  return outcome;
}

}  // namespace

Command pack_command() {
  return {"pack", "Pack a checkpoint into an artifact (.par5)",
          "  par5 pack runs/demo -o model.par5\n"
          "  par5 pack foreign.safetensors --config configs/quinary-16mb.toml --scale-bits 5 -o model.par5",
          [](CLI::App& app) -> Runner {
            auto options = std::make_shared<Options>();
            app.add_option("checkpoint", options->checkpoint, "Checkpoint (.safetensors) or run folder")->required();
            app.add_option("-o,--output", options->output, "The artifact to write")->required();
            app.add_option("--config", options->config, "TOML file with the architecture, for foreign safetensors");
            app.add_option("--scale-bits", options->scale_bits,
                           "Bits of a scale: 16 (fp16) or 4, 5, 6, 8 (default: what the checkpoint was trained with)");
            app.add_option("--effort", options->effort,
                           "0 (quick) … 9 (tries everything); the same effort gives the same bytes");
            app.add_option("--tokenizer", options->tokenizer,
                           "SentencePiece model to store (default: tokenizer.model beside the checkpoint)");
            app.add_flag("--no-tokenizer", options->no_tokenizer,
                         "Leave the tokenizer out; its hash is kept where it is known");
            return [options](const CommonOptions& common) { return run(*options, common); };
          }};
}

}  // namespace par5
