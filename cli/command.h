// What every command shares: the options that all take, and how a command hands back its report.
#pragma once

#include <CLI/CLI.hpp>
#include <cstddef>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/file.h"

namespace par5 {

struct CommonOptions {
  bool json = false;
  bool force = false;
  bool quiet = false;
  bool verbose = false;
  std::size_t threads = 0;  // 0: one per core

  Overwrite overwrite() const { return force ? Overwrite::yes : Overwrite::no; }
};

// A finished command. `report` is what --json prints (schema, command, version, seconds, threads and kernel are
// added); `text` is what a person reads on stdout. A check that was made and did not hold sets `status` to 1.
struct Outcome {
  nlohmann::ordered_json report;
  std::string text;
  int status = 0;
};

using Runner = std::function<Result<Outcome>(const CommonOptions&)>;

// One command of the program: `setup` adds its options to `app` and returns what to run. Options live in a shared
// state that the returned runner keeps alive. A command with sub-commands returns a runner that picks one.
struct Command {
  std::string name;
  std::string summary;
  std::string examples;  // shown at the top of --help
  std::function<Runner(CLI::App& app)> setup;
};

// Parses the command line, runs the command, prints report or error and returns the exit status.
int run_program(int argc, char** argv, const std::string& program, const std::vector<Command>& commands);

// Path of a program in the same folder as this one.
std::string sibling_program(const std::string& name);
// Runs a program with inherited standard streams and waits; signals reach it through the terminal's process group.
// Where `output` is not empty, the program's standard output goes to that file.
Result<int> run_child(const std::vector<std::string>& arguments, const std::string& output = {});

}  // namespace par5
