#include "cli/artifact_text.h"

#include <algorithm>
#include <utility>

#include "core/text.h"

namespace par5 {

std::string byte_column(std::uint64_t bytes, std::size_t width) {
  const std::string text = grouped(static_cast<std::int64_t>(bytes));
  return std::string(width - std::min(width, text.size()), ' ') + text;
}

std::string left_column(const std::string& text, std::size_t width) {
  const auto shown = static_cast<std::size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
  return text + std::string(width - std::min(width, shown), ' ');
}

void add_size_keys(nlohmann::ordered_json& report, const ArtifactReport& sizes) {
  report["file_bytes"] = sizes.file_bytes;
  report["quantised_bytes"] = sizes.quantised_bytes;
  report["float_bytes"] = sizes.float_bytes;
  report["scale_bytes"] = sizes.scale_bytes;
  report["tokenizer_bytes"] = sizes.tokenizer_bytes;
  report["metadata_bytes"] = sizes.metadata_bytes;
  report["checksum_bytes"] = sizes.checksum_bytes;
}

std::string size_table(const ArtifactReport& sizes) {
  std::string text;
  for (const auto& [what, bytes] :
       {std::pair{"quantised weights", sizes.quantised_bytes}, std::pair{"fp8 and fp16 tensors", sizes.float_bytes},
        std::pair{"scales", sizes.scale_bytes}, std::pair{"tokenizer", sizes.tokenizer_bytes},
        std::pair{"metadata and directory", sizes.metadata_bytes}, std::pair{"checksums", sizes.checksum_bytes}})
    text += byte_column(bytes) + "  " + what + "\n";
  return text + byte_column(sizes.file_bytes) + "  total\n";
}

nlohmann::ordered_json config_json(const StoredModel& model) {
  LoadedConfig config;
  config.values().model = model.model;
  config.values().quantizer = model.quantizer;
  nlohmann::ordered_json object;
  // The schema's TOML scalars are JSON too.
  for (const ConfigKey& key : config_keys())
    if (key.name.starts_with("model.") || key.name.starts_with("quantizer."))
      object[key.name] = nlohmann::ordered_json::parse(config.value(key.name), nullptr, false);
  return object;
}

std::string describe_model(const StoredModel& model) {
  const ModelConfig& config = model.model;
  const QuantizerConfig& quantizer = model.quantizer;
  std::string text = config.backbone == Backbone::unet ? "unet" : "gpt2";
  text += ", " + std::to_string(config.layers) + " layers, width " + std::to_string(config.width) + ", vocabulary " +
          grouped(config.vocab) + "; " + std::string(grid_name(quantizer.grid)) + " weights, ";
  switch (quantizer.granularity) {
    case Granularity::group:
      text += "groups of " + std::to_string(quantizer.group);
      break;
    case Granularity::row:
      text += "one scale per row";
      break;
    case Granularity::tensor:
      text += "one scale per tensor";
      break;
  }
  return text + ", " + (quantizer.scale_bits == 16 ? "fp16" : std::to_string(quantizer.scale_bits) + "-bit") +
         " scales";
}

}  // namespace par5
