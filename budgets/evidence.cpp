#include "budgets/evidence.h"

#include <algorithm>

#include "core/file.h"

namespace par5 {
namespace {

// A receipt names the command that it timed as a list or a line: the first word that is a command of par5.
std::string timed_command(const nlohmann::ordered_json& json) {
  std::vector<std::string> words;
  const auto& command = json.contains("argv") ? json["argv"] : json.contains("timed_command") ? json["timed_command"] : json["command"];
  if (command.is_array())
    for (const auto& word : command)
      if (word.is_string()) words.push_back(word.get<std::string>());
  for (const std::string& word : words)
    for (const char* known : {"eval", "train", "pack", "prove"})
      if (file_name(word) == known) return known;
  return words.empty() ? "" : file_name(words.front());
}

}  // namespace

std::optional<double> EvidenceReport::number(const char* key) const {
  if (!json.contains(key) || !json[key].is_number()) return std::nullopt;
  return json[key].get<double>();
}

std::vector<EvidenceReport> read_evidence(const RecordFolder& folder) {
  std::vector<EvidenceReport> reports;
  for (const FolderFile& file : folder.files) {
    if (!file.name.ends_with(".json") || file_name(file.name) == "audit.json") continue;
    const auto text = folder.read_text(file.name);
    if (!text) continue;
    auto json = nlohmann::ordered_json::parse(*text, nullptr, false);
    if (!json.is_object() || !json.contains("schema") || !json.contains("command")) continue;
    EvidenceReport report{file.name, "", "", std::move(json)};
    const bool receipt = report.json.contains("wall_seconds");
    report.command = receipt ? "time" : report.json["command"].is_string() ? report.json["command"].get<std::string>() : "";
    if (receipt) report.subject = timed_command(report.json);
    reports.push_back(std::move(report));
  }
  return reports;
}

std::vector<const EvidenceReport*> of_command(const std::vector<EvidenceReport>& reports, const std::string& command, const std::string& subject) {
  std::vector<const EvidenceReport*> found;
  for (const EvidenceReport& report : reports)
    if (report.command == command && (subject.empty() || report.subject == subject)) found.push_back(&report);
  return found;
}

}  // namespace par5
