// What par5 itself weighs: the sources that `par5 eval` needs, in three ways of counting.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/error.h"

namespace par5 {

struct OwnCode {
  std::string root;  // of the source tree
  std::vector<std::string>
      files;  // relative to it, sorted: the closure of #includes from the entry, and the sources behind them
  std::uint64_t raw_bytes = 0;                // sum of the files
  std::uint64_t xz_bytes = 0;                 // of all of them, names included, as one .xz stream
  std::optional<std::uint64_t> binary_bytes;  // of the program: what a stripped binary keeps

  std::uint64_t counted(const std::string& way) const;  // raw | xz | binary; the binary falls back on raw where unknown
};

// The closure from `entry` (a source in `root`): what it includes in quotes, transitively; and every source file that
// includes, also through others, a reached header of its own folder, with what that includes. Which of them the linker
// would leave out is not asked: the closure may be larger than what runs, never smaller. `program` may be empty.
Result<OwnCode> own_code(const std::string& root, const std::string& entry, const std::string& program);
// The same for a folder that holds nothing but such code: all its files.
Result<OwnCode> code_folder(const std::string& root, const std::string& program);

inline constexpr const char* kEvalEntry = "cli/eval_command.cpp";

// The source tree that a program was built from: the nearest folder above it that holds VERSION and
// cmake/folders.cmake; empty where there is none.
std::string source_tree_of(const std::string& program);

// Bytes of an ELF file up to the end of its last loadable segment: symbols and debugging information left out.
Result<std::uint64_t> loadable_bytes(const std::string& program);

}  // namespace par5
