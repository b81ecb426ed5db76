#include "cli/checkpoint_input.h"

#include "core/log.h"
#include "core/text.h"
#include "tokenizer/model_file.h"
#include "tokenizer/shards/token_bytes.h"

namespace par5 {
namespace {

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
std::optional<std::string> find_tokenizer(const CheckpointOptions& options, const std::string& checkpoint) {
  if (!options.tokenizer.empty()) return options.tokenizer;
  const std::string beside = join_path(parent_folder(checkpoint), "tokenizer.model");
  if (file_exists(beside)) return beside;
  return std::nullopt;
}

Status add_tokenizer(Artifact& artifact, const std::string& path, bool leave_out) {
  P5_TRY(ModelFile tokenizer, read_model_file(path));
  const auto pieces = static_cast<std::int64_t>(tokenizer.tokenizer.pieces.size());
  if (pieces != artifact.model.model.vocab)
    return usage_error("the tokenizer '" + path + "' has " + grouped(pieces) + " pieces and the model's vocabulary " +
                           grouped(artifact.model.model.vocab) +
                           "; name the model's own with --tokenizer FILE, or leave it out with --no-tokenizer",
                       "--tokenizer");
  artifact.tokenizer_sha256 = tokenizer_sha256(tokenizer.tokenizer);
  if (leave_out) return {};
  P5_OK(compact_normalizer(tokenizer.tokenizer));
  artifact.tokenizer = std::move(tokenizer.tokenizer);
  return {};
}

}  // namespace

void add_checkpoint_options(CLI::App& app, CheckpointOptions& options) {
  app.add_option("checkpoint", options.checkpoint, "Checkpoint (.safetensors) or run folder")->required();
  app.add_option("--config", options.config, "TOML file with the architecture, for foreign safetensors");
  app.add_option("--scale-bits", options.scale_bits,
                 "Bits of a scale: 16 (fp16) or 4, 5, 6, 8 (default: what the checkpoint was trained with)");
  app.add_option("--effort", options.effort, "0 (quick) … 9 (tries everything); the same effort gives the same bytes");
  app.add_option("--tokenizer", options.tokenizer,
                 "SentencePiece model to store (default: tokenizer.model beside the checkpoint)");
  app.add_flag("--no-tokenizer", options.no_tokenizer, "Leave the tokenizer out; its hash is kept where it is known");
}

Result<CheckpointInput> read_checkpoint(const CheckpointOptions& options, std::size_t threads) {
  CheckpointInput input;
  P5_TRY(input.path, find_checkpoint(options.checkpoint));
  P5_TRY(const SafetensorsFile file, SafetensorsFile::open(input.path));
  P5_TRY(LoadedConfig config, checkpoint_config(file, input.path, options.config));
  if (options.scale_bits)
    P5_OK(config.apply_assignment("quantizer.scale_bits=" + std::to_string(*options.scale_bits), "--scale-bits"));
  if (options.effort) P5_OK(config.apply_assignment("pack.effort=" + std::to_string(*options.effort), "--effort"));
  input.config = config.values();
  P5_OK(check_model(input.config.model, input.config.quantizer));
  P5_TRY(const MatchedTensors matched, match_tensors(file, input.config.model, input.path));
  if (!matched.dropped.empty())
    log_warning("left out of the artifact because they carry nothing: " + join(matched.dropped, ", "));
  input.dropped = matched.dropped;

  QuantizerConfig quantizer = input.config.quantizer;
  quantizer.scale_bits = 16;
  auto stored = store_checkpoint(matched, input.config.model, quantizer, threads);
  if (!stored) return tl::unexpected(stored.error().in_file(input.path));
  input.artifact.model = std::move(*stored);
  if (const auto tokenizer = find_tokenizer(options, input.path))
    P5_OK(add_tokenizer(input.artifact, *tokenizer, options.no_tokenizer));
  return input;
}

}  // namespace par5
