// Holds the sources to the table in cmake/folders.cmake (written by CMake to folders.txt).
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <regex>
#include <set>
#include <sstream>
#include <string>
#include <vector>

namespace {

namespace fs = std::filesystem;
const fs::path kSource = PAR5_SOURCE_DIR;

std::map<std::string, std::set<std::string>> read_table() {
  std::map<std::string, std::set<std::string>> table;
  std::ifstream file(fs::path(PAR5_BINARY_DIR) / "folders.txt");
  for (std::string line; std::getline(file, line);) {
    const std::size_t colon = line.find(':');
    if (colon == std::string::npos) continue;
    std::istringstream uses(line.substr(colon + 1));
    std::set<std::string>& row = table[line.substr(0, colon)];
    for (std::string folder; uses >> folder;) row.insert(folder);
  }
  return table;
}

// The row that a path belongs to: the longest folder name that begins it.
std::string folder_of(const std::string& path, const std::map<std::string, std::set<std::string>>& table) {
  std::string best;
  for (const auto& [folder, uses] : table)
    if (path.starts_with(folder + "/") && folder.size() > best.size()) best = folder;
  return best;
}

struct Include {
  std::string file;  // relative to the source folder
  std::string name;
  bool quoted = false;
};

std::vector<Include> includes_below(const std::string& folder) {
  static const std::regex pattern("^\\s*#\\s*include\\s*([<\"])([^>\"]+)[>\"]");
  std::vector<Include> includes;
  for (const auto& entry : fs::recursive_directory_iterator(kSource / folder)) {
    const std::string extension = entry.path().extension();
    if (extension != ".cpp" && extension != ".h") continue;
    std::ifstream file(entry.path());
    for (std::string line; std::getline(file, line);) {
      std::smatch match;
      if (std::regex_search(line, match, pattern))
        includes.push_back({fs::relative(entry.path(), kSource).string(), match[2], match[1] == "\""});
    }
  }
  return includes;
}

TEST(Folders, IncludeOnlyWhatTheTableAllows) {
  const auto table = read_table();
  ASSERT_GE(table.size(), 10u);
  std::size_t checked = 0;
  for (const auto& [folder, uses] : table) {
    for (const Include& include : includes_below(folder)) {
      // Highway's headers are named in quotes too: what is not a file of ours is not in the table.
      if (!include.quoted || !fs::exists(kSource / include.name) || folder_of(include.file, table) != folder) continue;
      const std::string target = folder_of(include.name, table);
      ++checked;
      EXPECT_TRUE(target == folder || uses.count(target)) << include.file << " includes \"" << include.name
                                                          << "\", which cmake/folders.cmake does not allow " << folder;
    }
  }
  EXPECT_GT(checked, 20u);
}

bool is_torch_header(const std::string& name) {
  return name.starts_with("torch/") || name.starts_with("ATen/") || name.starts_with("c10/");
}
bool is_torch_folder(const std::string& file) {
  for (const char* prefix : {"model/", "train/", "eval/torch/", "cli/torch/"})
    if (file.starts_with(prefix)) return true;
  return false;
}

TEST(Folders, ThirdPartyHeadersStayWhereTheyBelong) {
  for (const char* top :
       {"core", "tokenizer", "pack", "archive", "engine", "model", "train", "eval", "budgets", "report", "cli"}) {
    if (!fs::exists(kSource / top)) continue;
    for (const Include& include : includes_below(top)) {
      const std::string what = include.file + " includes " + include.name;
      const bool in_torch = is_torch_folder(include.file);
      if (is_torch_header(include.name)) {
        EXPECT_TRUE(in_torch) << what;
      }
      if (include.name.starts_with("sentencepiece")) {
        EXPECT_TRUE(include.file.starts_with("tokenizer/") && !include.file.starts_with("tokenizer/shards/")) << what;
      }
      // LibTorch bundles another fmt: fmt and spdlog only in LibTorch-free sources, never in headers.
      if (include.name.starts_with("fmt/") || include.name.starts_with("spdlog/")) {
        EXPECT_TRUE(include.file.ends_with(".cpp") && !in_torch) << what;
      }
    }
  }
}

TEST(Folders, AreExplained) {
  const auto table = read_table();
  for (const auto& [folder, uses] : table) {
    if (!fs::exists(kSource / folder) || fs::is_empty(kSource / folder)) continue;
    EXPECT_TRUE(fs::exists(kSource / folder / "README.md")) << folder << " has no README.md";
  }
}

}  // namespace
