// Runs tests/cli/cases/*.txt: transcripts of the command line, compared line by line.
//
//   # a comment
//   $ par5 command        run by /bin/sh in an empty folder, par5 on PATH, $SOURCE = the source folder
//   expected stdout       <*> matches anything within a line; a line of ... matches any lines
//   ! expected stderr
//   ? 2                   expected exit status (0 where not given)
//
// Cases named torch_* need par5-torch and are left out where it is not built.
//
// PAR5_REFRESH=1 writes what came out over each file, for review as a diff.
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

namespace {

namespace fs = std::filesystem;

struct Step {
  std::vector<std::string> comments;
  std::string command;
  std::vector<std::string> output, error;
  int status = 0;
};

std::vector<std::string> lines_of(const fs::path& path) {
  std::ifstream file(path);
  std::vector<std::string> lines;
  for (std::string line; std::getline(file, line);) lines.push_back(line);
  return lines;
}

std::vector<Step> parse(const fs::path& path) {
  std::vector<Step> steps;
  std::vector<std::string> comments;
  for (const std::string& line : lines_of(path)) {
    if (line.starts_with("#") || (line.empty() && (steps.empty() || !comments.empty()))) {
      comments.push_back(line);
    } else if (line.starts_with("$ ")) {
      steps.push_back({comments, line.substr(2), {}, {}, 0});
      comments.clear();
    } else if (steps.empty()) {
      ADD_FAILURE() << path << ": output before the first command";
    } else if (line.starts_with("! ")) {
      steps.back().error.push_back(line.substr(2));
    } else if (line.starts_with("? ")) {
      steps.back().status = std::stoi(line.substr(2));
    } else {
      steps.back().output.push_back(line);
    }
  }
  return steps;
}

bool matches_line(const std::string& pattern, const std::string& text) {
  std::vector<std::string> parts;
  std::size_t start = 0;
  for (std::size_t at; (at = pattern.find("<*>", start)) != std::string::npos; start = at + 3)
    parts.push_back(pattern.substr(start, at - start));
  parts.push_back(pattern.substr(start));
  if (parts.size() == 1) return pattern == text;
  if (!text.starts_with(parts.front())) return false;
  std::size_t position = parts.front().size();
  for (std::size_t i = 1; i + 1 < parts.size(); ++i) {
    const std::size_t found = text.find(parts[i], position);
    if (found == std::string::npos) return false;
    position = found + parts[i].size();
  }
  return text.size() >= position + parts.back().size() && text.ends_with(parts.back());
}

bool matches(const std::vector<std::string>& patterns, const std::vector<std::string>& lines, std::size_t p = 0,
             std::size_t l = 0) {
  for (; p < patterns.size(); ++p, ++l) {
    if (patterns[p] == "...") {
      for (std::size_t skip = l; skip <= lines.size(); ++skip)
        if (matches(patterns, lines, p + 1, skip)) return true;
      return false;
    }
    if (l >= lines.size() || !matches_line(patterns[p], lines[l])) return false;
  }
  return l == lines.size();
}

std::string joined(const std::vector<std::string>& lines) {
  std::string text;
  for (const std::string& line : lines) text += line + "\n";
  return text;
}

class Transcript : public testing::TestWithParam<std::string> {};

TEST_P(Transcript, Matches) {
  if (GetParam().starts_with("torch_") && !fs::exists(PAR5_PROGRAM "-torch")) GTEST_SKIP() << "built without LibTorch";
  const fs::path path = fs::path(PAR5_SOURCE_DIR) / "tests/cli/cases" / (GetParam() + ".txt");
  const fs::path work =
      fs::temp_directory_path() / ("par5-transcript-" + GetParam() + "-" + std::to_string(::getpid()));
  fs::create_directories(work / "here");
  const std::string environment = "cd '" + (work / "here").string() + "' && export PATH='" +
                                  fs::path(PAR5_PROGRAM).parent_path().string() +
                                  "':$PATH SOURCE='" PAR5_SOURCE_DIR "' LC_ALL=C TERM=dumb; ";
  std::string refreshed;
  for (const Step& step : parse(path)) {
    const std::string command = environment + step.command;
    const std::string redirected =
        "( " + command + " ) >'" + (work / "out").string() + "' 2>'" + (work / "err").string() + "' </dev/null";
    const int raw = std::system(redirected.c_str());
    const int status = WIFEXITED(raw) ? WEXITSTATUS(raw) : 128;
    const auto output = lines_of(work / "out"), error = lines_of(work / "err");
    for (const std::string& comment : step.comments) refreshed += comment + "\n";
    refreshed += "$ " + step.command + "\n" + joined(output);
    for (const std::string& line : error) refreshed += "! " + line + "\n";
    if (status) refreshed += "? " + std::to_string(status) + "\n";
    EXPECT_EQ(status, step.status) << "$ " << step.command << "\n" << joined(error);
    EXPECT_TRUE(matches(step.output, output)) << "$ " << step.command << "\nstdout was:\n"
                                              << joined(output) << "expected:\n"
                                              << joined(step.output);
    EXPECT_TRUE(matches(step.error, error)) << "$ " << step.command << "\nstderr was:\n"
                                            << joined(error) << "expected:\n"
                                            << joined(step.error);
  }
  if (std::getenv("PAR5_REFRESH")) std::ofstream(path) << refreshed;
  fs::remove_all(work);
}

std::vector<std::string> cases() {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(fs::path(PAR5_SOURCE_DIR) / "tests/cli/cases"))
    if (entry.path().extension() == ".txt") names.push_back(entry.path().stem());
  std::sort(names.begin(), names.end());
  return names;
}

INSTANTIATE_TEST_SUITE_P(Cases, Transcript, testing::ValuesIn(cases()),
                         [](const auto& parameter) { return parameter.param; });

}  // namespace
