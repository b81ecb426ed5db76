#include "eval/model_file.h"

#include "core/file.h"
#include "core/log.h"
#include "core/safetensors.h"
#include "core/text.h"
#include "pack/architecture.h"

namespace par5 {
namespace {

bool is_model_assignment(const std::string& assignment) {
  return assignment.starts_with("model.") || assignment.starts_with("quantizer.");
}

}  // namespace

Result<bool> looks_like_safetensors(const std::string& path) {
  P5_TRY(const MappedFile file, MappedFile::open(path));
  const std::span<const std::byte> bytes = file.bytes();
  if (bytes.size() < 9) return path.ends_with(".safetensors");
  std::uint64_t header = 0;
  for (std::size_t i = 0; i < 8; ++i) header |= std::to_integer<std::uint64_t>(bytes[i]) << (8 * i);
  return path.ends_with(".safetensors") || (header <= bytes.size() - 8 && bytes[8] == std::byte{'{'});
}

Result<EvalModel> load_eval_model(const std::string& path, const std::string& config_path,
                                  const std::vector<std::string>& assignments, std::size_t threads) {
  P5_TRY(const bool checkpoint, looks_like_safetensors(path));
  EvalModel model;
  if (!checkpoint) {
    for (const std::string& assignment : assignments)
      if (is_model_assignment(assignment))
        return usage_error("an artifact carries its own model and quantiser; '" + assignment + "' cannot change them");
    P5_TRY(DecodedArtifact decoded, read_artifact(path, threads));
    model.stored = std::move(decoded.artifact.model);
    model.temperature = decoded.artifact.temperature;
    model.tokenizer_sha256 = decoded.artifact.tokenizer_sha256;
    model.is_artifact = true;
    model.extras = std::move(decoded.artifact.extras);
    return model;
  }
  P5_TRY(const SafetensorsFile file, SafetensorsFile::open(path));
  P5_TRY(LoadedConfig config, checkpoint_config(file, path, config_path));
  for (const std::string& assignment : assignments)
    if (is_model_assignment(assignment)) P5_OK(config.apply_assignment(assignment));
  const Config& values = config.values();
  P5_OK(check_model(values.model, values.quantizer));
  P5_TRY(const MatchedTensors matched, match_tensors(file, values.model, path));
  if (!matched.dropped.empty()) log_warning("not used, as they carry nothing: " + join(matched.dropped, ", "));
  P5_TRY(model.stored, store_checkpoint(matched, values.model, values.quantizer, threads));
  return model;
}

}  // namespace par5
