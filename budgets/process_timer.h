// A whole process, measured from outside: wall clock, CPU, memory, phases by markers in its output, files and network.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/error.h"

namespace par5 {

struct TimedCommand {
  std::vector<std::string> arguments;
  // A phase begins when a line of output contains its text; the first match counts. Before the first: "start-up".
  std::vector<std::pair<std::string, std::string>> markers;  // name, text
  bool trace = true;                                         // see files and network where the system allows it
  bool offline = false;                                      // run without a network
  bool output_to_stderr = false;                             // its standard output goes to ours of errors
};

struct Phase {
  std::string name;
  double begin_seconds = 0;
  double seconds = 0;
};

struct Receipt {
  std::vector<std::string> arguments;
  std::string folder;           // where it ran
  int exit_status = 0;          // 128 + n where signal n ended it
  double wall_seconds = 0;      // from before its start to the end of its last process (traced) or of itself
  double cpu_seconds = 0;       // user and system, of it and the children that it waited for
  std::int64_t peak_bytes = 0;  // resident memory of the largest process
  std::vector<Phase> phases;
  std::vector<std::string> missing_markers;  // phases that never began
  struct File {
    std::string path;
    bool written = false;
    bool executed = false;
  };
  std::optional<std::vector<File>> files_opened;  // nothing: unknown
  enum class Network { unknown, off, unused, used } network = Network::unknown;
  std::vector<std::string> peers;
  std::string unknown_because;  // where files or network are unknown or incomplete
};
std::string_view network_name(Receipt::Network network);

// Runs the command with our standard streams and waits for it. A program that cannot be started is an io error (or
// missing_tool); whatever exit status it ends with is not. Where tracing is not allowed, files and network are unknown.
// Tracing sets no_new_privs: set-user-id programs inside run without their privileges.
Result<Receipt> run_timed(const TimedCommand& command);

// The receipt's JSON: schema, command ("time"), arguments, exit_status, wall_seconds, cpu_seconds, peak_bytes,
// phases[], files_opened[] (null: unknown), network {used (null: unknown), state, peers[]}.
nlohmann::ordered_json receipt_json(const Receipt& receipt);

}  // namespace par5
