#include "budgets/claims.h"

#include <cctype>

#include "core/text.h"

namespace par5 {
namespace {

std::string lower(std::string text) {
  for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return text;
}

// Settings that differ between runs of one configuration by their nature.
bool varies_by_run(const std::string& key) {
  const std::string name = lower(key);
  for (const char* word : {"seed",  "run_id", "runid", "log",  "logfile", "log_file", "time",     "date",  "path",
                           "port",  "rank",   "pid",   "host", "uuid",    "gpu",      "temp",     "power", "memory",
                           "usage", "driver", "name",  "step", "loss",    "at",       "artifact", "dir"})
    if (name == word || (std::string_view(word).size() > 3 && name.find(word) != std::string::npos)) return true;
  return false;
}

}  // namespace

bool claims_no_record(const RecordFolder& folder) {
  std::string words = folder.submission && folder.submission->track ? folder.submission->track->value : "";
  for (const std::string& part : split(folder.path, '/'))
    if (part.starts_with("track_")) words += " " + part;
  words = lower(words);
  return words.find("non") != std::string::npos || words.find("unlimited") != std::string::npos;
}

std::optional<DifferentSetting> different_setting(const std::map<std::string, std::string>& a,
                                                  const std::map<std::string, std::string>& b) {
  for (const auto& [key, value] : a) {
    if (key.size() < 2 || varies_by_run(key) || value.find('/') != std::string::npos)
      continue;  // paths are not settings
    const auto other = b.find(key);
    if (other != b.end() && other->second != value) return DifferentSetting{key, value, other->second};
  }
  return std::nullopt;
}

}  // namespace par5
