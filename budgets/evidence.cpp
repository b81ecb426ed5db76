#include "budgets/evidence.h"

#include <algorithm>

#include "core/file.h"

namespace par5 {
namespace {

// What a receipt timed: the first of its arguments that is a command of par5, else the program.
std::string timed_command(const nlohmann::ordered_json& receipt) {
  std::vector<std::string> words;
  if (receipt.contains("arguments") && receipt["arguments"].is_array())
    for (const auto& word : receipt["arguments"])
      if (word.is_string()) words.push_back(word.get<std::string>());
  for (const std::string& word : words)
    for (const char* known : {"eval", "train", "pack", "prove"})
      if (word == known) return known;
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
    if (report.json["command"].is_string()) report.command = report.json["command"].get<std::string>();
    if (report.command == "time") {
      // A command that failed shows nothing.
      if (report.number("exit_status").value_or(0) != 0) continue;
      report.subject = timed_command(report.json);
    }
    reports.push_back(std::move(report));
  }
  return reports;
}

std::vector<const EvidenceReport*> of_command(const std::vector<EvidenceReport>& reports, const std::string& command,
                                              const std::string& subject) {
  std::vector<const EvidenceReport*> found;
  for (const EvidenceReport& report : reports)
    if (report.command == command && (subject.empty() || report.subject == subject)) found.push_back(&report);
  return found;
}

}  // namespace par5
