// Python source read as tokens: enough to list imports, calls and string literals with their lines, never to run
// anything.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"

namespace par5 {

struct PythonToken {
  enum class Kind { name, number, string, operation, line_end };
  Kind kind = Kind::operation;
  std::string text;        // as written; of a string its value, escapes resolved (Unicode as UTF-8)
  bool is_bytes = false;   // of a string: b"…"
  bool formatted = false;  // of a string: f"…", whose value is not known
  std::size_t line = 1;
};

// Comments are left out; line_end stands at ends of statements, not inside brackets. A string that does not end is
// bad_data with its offset.
Result<std::vector<PythonToken>> python_tokens(std::string_view source);

struct PythonImport {
  std::string module;  // "torch.distributed"; relative imports keep their dots
  std::string name;    // of `from module import name`; else empty
  std::string alias;   // under which the script knows it
  std::size_t line = 1;
};
std::vector<PythonImport> python_imports(const std::vector<PythonToken>& tokens);

// A call by its dotted name, aliases of imports resolved ("subprocess.run"), with the string literals among its
// arguments.
struct PythonCall {
  std::string callee;
  std::vector<std::string> strings;
  std::size_t line = 1;
};
std::vector<PythonCall> python_calls(const std::vector<PythonToken>& tokens);

// Is the top-level module part of Python's standard library?
bool is_standard_module(std::string_view module);

}  // namespace par5
