#include "archive/artifact.h"
#include "archive/upgrades.h"
#include "cli/artifact_text.h"
#include "cli/commands.h"
#include "cli/inspect_diff.h"
#include "core/text.h"
#include "eval/temperature.h"
#include "pack/statistics.h"

namespace par5 {
namespace {

using Json = nlohmann::ordered_json;

double bits_per_value(const StreamReport& stream) {
  return 8 * static_cast<double>(stream.stored_bytes) / static_cast<double>(stream.values);
}
double share_of_order0(const StreamReport& stream) {
  return static_cast<double>(stream.stored_bytes) / static_cast<double>(stream.order0_bytes);
}

Json stream_json(const StreamReport& stream) {
  return {{"part", stream.part},
          {"layout", stream.layout},
          {"codec", stream.codec},
          {"offset", stream.offset},
          {"values", stream.values},
          {"raw_bytes", stream.raw_bytes},
          {"stored_bytes", stream.stored_bytes},
          {"order0_bytes", stream.order0_bytes},
          {"bits_per_value", stream.values > 0 ? Json(bits_per_value(stream)) : Json(nullptr)},
          {"share_of_order0", stream.order0_bytes > 0 ? Json(share_of_order0(stream)) : Json(nullptr)}};
}

// One value of a named key, for JSON.
Json value_json(const NamedEntry::Value& value) {
  if (const auto* integer = std::get_if<std::uint64_t>(&value)) return *integer;
  if (const auto* number = std::get_if<double>(&value)) return *number;
  if (const auto* text = std::get_if<std::string>(&value)) return *text;
  return std::to_string(std::get<std::vector<std::byte>>(value).size()) + " bytes";
}

std::string stream_line(const StreamReport& stream) {
  std::string line = "    " + left_column(stream.part, 10) + left_column(stream.layout, 9) +
                     left_column(stream.codec, 7) + byte_column(stream.raw_bytes, 12) +
                     byte_column(stream.stored_bytes, 12) + byte_column(stream.order0_bytes, 12);
  if (stream.values > 0) line += "  " + left_column(fixed(bits_per_value(stream), 4), 9);
  if (stream.order0_bytes > 0) line += fixed(100 * share_of_order0(stream), 2) + " %";
  return line + "\n";
}

// How often every level stands in a quantised tensor, from the lowest; empty for others.
std::vector<std::uint64_t> levels_of(const StoredTensor& tensor) {
  const auto* quantized = std::get_if<QuantizedTensor>(&tensor.data);
  if (!quantized) return {};
  return level_statistics(quantized->quantizer.grid, quantized->codes).histogram;
}

// "levels from -2: 11.6 22.9 31.0 22.9 11.6 %"; of grids that fit a line.
std::string levels_line(const StoredTensor& tensor) {
  const std::vector<std::uint64_t> levels = levels_of(tensor);
  if (levels.empty() || levels.size() > 15) return {};
  const auto& quantized = std::get<QuantizedTensor>(tensor.data);
  std::string line = "    levels from " + std::to_string(-max_code(quantized.quantizer.grid)) + ":";
  for (const std::uint64_t count : levels)
    line += " " + fixed(100 * static_cast<double>(count) / static_cast<double>(quantized.codes.size()), 1);
  return line + " %\n";
}

std::string upgrades_table(const std::vector<Upgrade>& list) {
  std::string text = "what more bytes would buy (computed from the stored weights)\n";
  for (const Upgrade& upgrade : list) {
    text += byte_column(static_cast<std::uint64_t>(upgrade.bytes)) + "  ";
    if (upgrade.error_before_percent > 0)
      text += left_column(upgrade.what, 20) + "weights off by " + fixed(upgrade.error_after_percent, 2) +
              " % instead of " + fixed(upgrade.error_before_percent, 2) + " % (root mean square)";
    else
      text += upgrade.what;
    text += "\n";
  }
  return text;
}

std::string table(const DecodedArtifact& decoded, const std::vector<Upgrade>& more) {
  const ArtifactReport& report = decoded.report;
  std::string text = describe_model(decoded.artifact.model) + "\nformat version " +
                     std::to_string(report.format_version) + ", made with liblzma, zstd, brotli " +
                     report.codec_versions + "\n\nsections\n";
  for (const ArtifactSection& section : report.sections)
    text += byte_column(section.bytes) + "  " + left_column(section.name, 14) + " at " +
            grouped(static_cast<std::int64_t>(section.offset)) + "\n";
  text += byte_column(report.file_bytes) + "  total\n\ntensors\n    " + left_column("part", 10) +
          left_column("layout", 9) + left_column("codec", 7) +
          "         raw      stored     order-0  bits/value  of order-0\n";
  for (std::size_t i = 0; i < report.tensors.size(); ++i) {
    const TensorReport& tensor = report.tensors[i];
    text += tensor.name + " " + to_string(tensor.shape) + " " + tensor.grid +
            (tensor.group > 0 ? " / " + std::to_string(tensor.group) : "") + ", zeros " +
            fixed(100 * tensor.zero_share, 1) + " %\n";
    for (const StreamReport& stream : tensor.streams) text += stream_line(stream);
    text += levels_line(decoded.artifact.model.tensors[i]);
  }
  if (!report.other_streams.empty()) text += "other streams\n";
  for (const StreamReport& stream : report.other_streams) text += stream_line(stream);
  text += "\n" + size_table(report);
  if (const auto source = temperature_source(decoded.artifact.extras))
    text += "temperature " + shortest(decoded.artifact.temperature) + ", fitted on " + grouped(source->targets) +
            " targets of the tokens " + source->data_sha256.substr(0, 12) + "…\n";
  for (const NamedEntry& entry : decoded.artifact.extras)
    if (!entry.name.starts_with("temperature_"))
      text +=
          "key " + entry.name + " = " + value_json(entry.value).dump() + " (format version 1 has no number for it)\n";
  if (!more.empty()) text += "\n" + upgrades_table(more);
  return text;
}

Result<Outcome> run(const std::string& path, const CommonOptions& common) {
  P5_TRY(const DecodedArtifact decoded, read_artifact(path, common.threads));
  const ArtifactReport& report = decoded.report;
  Outcome outcome;
  Json& json = outcome.report;
  add_size_keys(json, report);
  json["format_version"] = report.format_version;
  json["codec_versions"] = report.codec_versions;
  json["tokenizer"] = decoded.artifact.tokenizer ? "stored" : "left out";
  json["tokenizer_sha256"] =
      decoded.artifact.tokenizer_sha256.empty() ? Json(nullptr) : Json(decoded.artifact.tokenizer_sha256);
  json["temperature"] = decoded.artifact.temperature;
  const auto source = temperature_source(decoded.artifact.extras);
  json["temperature_fitted_on"] =
      source ? Json{{"data_sha256", source->data_sha256}, {"targets", source->targets}} : Json(nullptr);
  json["self_test_windows"] = decoded.artifact.self_test.size();
  for (const ArtifactSection& section : report.sections)
    json["sections"].push_back({{"name", section.name}, {"offset", section.offset}, {"bytes", section.bytes}});
  for (std::size_t i = 0; i < report.tensors.size(); ++i) {
    const TensorReport& tensor = report.tensors[i];
    Json entry = {{"name", tensor.name},
                  {"shape", tensor.shape},
                  {"grid", tensor.grid},
                  {"group", tensor.group > 0 ? Json(tensor.group) : Json(nullptr)},
                  {"zero_share", tensor.zero_share},
                  {"histogram", levels_of(decoded.artifact.model.tensors[i])},
                  {"streams", Json::array()}};
    for (const StreamReport& stream : tensor.streams) entry["streams"].push_back(stream_json(stream));
    json["tensors"].push_back(std::move(entry));
  }
  json["other_streams"] = Json::array();
  for (const StreamReport& stream : report.other_streams) json["other_streams"].push_back(stream_json(stream));
  json["config"] = config_json(decoded.artifact.model);
  json["extras"] = Json::object();
  for (const NamedEntry& entry : decoded.artifact.extras) json["extras"][entry.name] = value_json(entry.value);
  const std::vector<Upgrade> more = upgrades(decoded.artifact, report);
  json["upgrades"] = Json::array();
  for (const Upgrade& upgrade : more)
    json["upgrades"].push_back({{"what", upgrade.what},
                                {"bytes", upgrade.bytes},
                                {"error_before_percent", upgrade.error_before_percent},
                                {"error_after_percent", upgrade.error_after_percent}});
  outcome.text = table(decoded, more);
  return outcome;
}

}  // namespace

Command inspect_command() {
  return {"inspect", "Show where every byte of an artifact went, and what more would buy",
          "  par5 inspect model.par5\n  par5 inspect --json model.par5\n  par5 inspect --diff old.par5 new.par5",
          [](CLI::App& app) -> Runner {
            auto paths = std::make_shared<std::vector<std::string>>();
            auto diff = std::make_shared<bool>(false);
            app.add_option("artifact", *paths, "Artifact (.par5); two with --diff")->required()->expected(1, 2);
            app.add_flag("--diff", *diff, "Show where two artifacts differ, in bytes and in values");
            return [paths, diff](const CommonOptions& common) -> Result<Outcome> {
              if (*diff != (paths->size() == 2))
                return usage_error("--diff takes two artifacts, and without it there is one", "--diff");
              return *diff ? inspect_difference((*paths)[0], (*paths)[1], common) : run((*paths)[0], common);
            };
          }};
}

}  // namespace par5
