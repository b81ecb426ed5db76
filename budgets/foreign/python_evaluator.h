// Evaluates the few Python expressions of which wrappers are made: literals, names, joins, decoders and files beside
// the script. Anything else is `unknown`; nothing is ever run.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "budgets/foreign/packed_script.h"
#include "budgets/foreign/python_source.h"

namespace par5 {

struct PythonValue {
  enum class Kind { unknown, text, number, name, file, folder, list };
  Kind kind = Kind::unknown;
  std::string text;  // of text; of a name "lzma.decompress"; of file and folder the path relative to the script
  std::int64_t number = 0;
  std::vector<PythonValue> items;  // of a list; of a dict key, value, key, value, …
  std::string how;                 // how a text came about: "lzma.decompress(base64.b85decode(text of 9 characters))"
  std::string why;                 // of unknown, where the reason is worth telling (a bomb, a damaged blob)

  static PythonValue of_text(std::string text, std::string how);
};

class PythonEvaluator {
 public:
  PythonEvaluator(const std::vector<PythonToken>& tokens, std::string script_name, const ReadBeside& read_beside,
                  std::map<std::string, PythonValue> variables);

  // The expression that starts at token `at`; `at` moves behind what was understood.
  PythonValue expression(std::size_t& at);
  void assign(const std::string& name, PythonValue value) { variables_[name] = std::move(value); }
  const std::map<std::string, PythonValue>& variables() const { return variables_; }
  const std::vector<std::string>& files() const { return files_; }  // that were read

 private:
  struct Argument {
    std::string keyword;
    PythonValue value;
  };
  PythonValue term(std::size_t& at);
  PythonValue atom(std::size_t& at);
  PythonValue brackets(std::size_t& at, std::string_view close);
  PythonValue subscript(PythonValue value, std::size_t& at);
  std::vector<Argument> arguments(std::size_t& at);
  PythonValue member(PythonValue value, const std::string& name);
  PythonValue method(const PythonValue& object, const std::string& name, const std::vector<Argument>& arguments);
  PythonValue call(const std::string& function, const std::vector<Argument>& arguments);
  PythonValue read(const std::string& file);
  bool next_is(std::size_t at, std::string_view operation) const;

  const std::vector<PythonToken>& tokens_;
  std::string script_name_;
  const ReadBeside& read_beside_;
  std::map<std::string, PythonValue> variables_;  // imports as names, assignments as what they are worth
  std::vector<std::string> files_;
  int depth_ = 0;
};

}  // namespace par5
