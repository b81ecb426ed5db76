#include "archive/artifact.h"
#include "cli/artifact_text.h"
#include "cli/commands.h"
#include "core/text.h"

namespace par5 {
namespace {

using Json = nlohmann::ordered_json;

Json stream_json(const StreamReport& stream) {
  return {{"part", stream.part},
          {"layout", stream.layout},
          {"codec", stream.codec},
          {"offset", stream.offset},
          {"raw_bytes", stream.raw_bytes},
          {"stored_bytes", stream.stored_bytes},
          {"order0_bytes", stream.order0_bytes}};
}

// One value of a named key, for JSON.
Json value_json(const NamedEntry::Value& value) {
  if (const auto* integer = std::get_if<std::uint64_t>(&value)) return *integer;
  if (const auto* number = std::get_if<double>(&value)) return *number;
  if (const auto* text = std::get_if<std::string>(&value)) return *text;
  return std::to_string(std::get<std::vector<std::byte>>(value).size()) + " bytes";
}

std::string stream_line(const StreamReport& stream, std::int64_t values) {
  std::string line = "    " + left_column(stream.part, 10) + left_column(stream.layout, 9) +
                     left_column(stream.codec, 7) + byte_column(stream.raw_bytes, 12) +
                     byte_column(stream.stored_bytes, 12) + byte_column(stream.order0_bytes, 12);
  if (values > 0) line += "  " + fixed(8.0 * static_cast<double>(stream.stored_bytes) / static_cast<double>(values), 4);
  return line + "\n";
}

std::string table(const DecodedArtifact& decoded) {
  const ArtifactReport& report = decoded.report;
  std::string text = describe_model(decoded.artifact.model) + "\nformat version " +
                     std::to_string(report.format_version) + ", made with liblzma, zstd, brotli " +
                     report.codec_versions + "\n\nsections\n";
  for (const ArtifactSection& section : report.sections)
    text += byte_column(section.bytes) + "  " + left_column(section.name, 14) + " at " +
            grouped(static_cast<std::int64_t>(section.offset)) + "\n";
  text += byte_column(report.file_bytes) + "  total\n\ntensors\n    " + left_column("part", 10) +
          left_column("layout", 9) + left_column("codec", 7) + "         raw      stored     order-0  bits/weight\n";
  for (const TensorReport& tensor : report.tensors) {
    const std::int64_t values = element_count(tensor.shape);
    text += tensor.name + " " + to_string(tensor.shape) + " " + tensor.grid +
            (tensor.group > 0 ? " / " + std::to_string(tensor.group) : "") + ", zeros " +
            fixed(100 * tensor.zero_share, 1) + " %\n";
    const std::int64_t whole_codes = values;
    for (const StreamReport& stream : tensor.streams)
      text += stream_line(stream, stream.part == "codes" || stream.part == "values" ? whole_codes : 0);
  }
  if (!report.other_streams.empty()) text += "other streams\n";
  for (const StreamReport& stream : report.other_streams) text += stream_line(stream, 0);
  text += "\n" + size_table(report);
  for (const NamedEntry& entry : decoded.artifact.extras)
    text += "key " + entry.name + " = " + value_json(entry.value).dump() + " (unknown to this par5)\n";
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
  json["self_test_windows"] = decoded.artifact.self_test.size();
  for (const ArtifactSection& section : report.sections)
    json["sections"].push_back({{"name", section.name}, {"offset", section.offset}, {"bytes", section.bytes}});
  for (const TensorReport& tensor : report.tensors) {
    Json entry = {{"name", tensor.name},
                  {"shape", tensor.shape},
                  {"grid", tensor.grid},
                  {"group", tensor.group > 0 ? Json(tensor.group) : Json(nullptr)},
                  {"zero_share", tensor.zero_share},
                  {"streams", Json::array()}};
    for (const StreamReport& stream : tensor.streams) entry["streams"].push_back(stream_json(stream));
    json["tensors"].push_back(std::move(entry));
  }
  json["other_streams"] = Json::array();
  for (const StreamReport& stream : report.other_streams) json["other_streams"].push_back(stream_json(stream));
  json["config"] = config_json(decoded.artifact.model);
  json["extras"] = Json::object();
  for (const NamedEntry& entry : decoded.artifact.extras) json["extras"][entry.name] = value_json(entry.value);
  outcome.text = table(decoded);
  return outcome;
}

}  // namespace

Command inspect_command() {
  return {"inspect", "Show where every byte of an artifact went",
          "  par5 inspect model.par5\n  par5 inspect --json model.par5", [](CLI::App& app) -> Runner {
            auto path = std::make_shared<std::string>();
            app.add_option("artifact", *path, "Artifact (.par5)")->required();
            return [path](const CommonOptions& common) { return run(*path, common); };
          }};
}

}  // namespace par5
