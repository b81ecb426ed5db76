// Internal to archive/: another program, run without a shell in a folder of its own, with bounds on what it may take.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/error.h"

namespace par5 {

struct LimitedProgram {
  std::string path;                                     // absolute, as find_program gives it
  std::vector<std::string> arguments;                   // without the program's name
  std::vector<std::string> environment;                 // "NAME=value": all that it sees
  std::string folder;                                   // where it runs
  std::string output = {};                              // a file in `folder` for what it prints; empty: nowhere
  double processor_seconds = 60;                        // of all its threads
  double seconds = 3600;                                // by the clock
  std::uint64_t memory_bytes = std::uint64_t{2} << 30;  // of address space
  std::uint64_t file_bytes = std::uint64_t{1} << 30;    // of each file that it writes
};

// The absolute path of a program in $PATH, or nothing. Folders that are not absolute are passed over.
std::string find_program(const std::string& name);

// Runs it to its end and returns its exit status, 128 + signal where a signal ended it. resource_limit: it took more
// time than it may and was killed. A signal to par5 kills it too and gives interrupted; it never outlives the calling
// thread. Its standard input is empty, and it holds no file of ours open.
Result<int> run_limited(const LimitedProgram& program);

}  // namespace par5
