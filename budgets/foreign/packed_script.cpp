#include "budgets/foreign/packed_script.h"

#include <algorithm>

#include "budgets/foreign/python_evaluator.h"
#include "budgets/foreign/text_encoding.h"

namespace par5 {
namespace {

using Kind = PythonToken::Kind;

constexpr int kDeepest = 8;
constexpr std::size_t kMostLayers = 64;

class Opener {
 public:
  Opener(std::string name, const ReadBeside& read_beside) : name_(std::move(name)), read_beside_(read_beside) {}

  Status open(const std::string& source, int depth, const std::map<std::string, PythonValue>& variables) {
    auto tokens = python_tokens(source);
    if (!tokens && depth > 0) {
      opened_.opaque.push_back({1, depth, tokens.error().message});
      return {};
    }
    if (!tokens) return tl::unexpected(tokens.error());
    PythonEvaluator evaluator(*tokens, name_, read_beside_, variables);
    for (std::size_t i = 0; i < tokens->size(); ++i) {
      const PythonToken& token = (*tokens)[i];
      if (token.kind != Kind::name) continue;
      const bool starts = i == 0 || (*tokens)[i - 1].kind == Kind::line_end || (*tokens)[i - 1].text == ":";
      const bool followed_by = i + 1 < tokens->size() && (*tokens)[i + 1].kind == Kind::operation;
      if (starts && followed_by && (*tokens)[i + 1].text == "=") {
        std::size_t at = i + 2;
        PythonValue value = evaluator.expression(at);
        const bool whole = at >= tokens->size() || (*tokens)[at].kind == Kind::line_end;
        evaluator.assign(token.text, whole ? std::move(value) : PythonValue{});
      }
      const bool is_exec = token.text == "exec" || token.text == "eval";
      const bool is_method = i > 0 && ((*tokens)[i - 1].text == "." || (*tokens)[i - 1].text == "def");
      if (is_exec && !is_method && followed_by && (*tokens)[i + 1].text == "(")
        P5_OK(open_exec(evaluator, *tokens, i, depth));
    }
    for (const std::string& file : evaluator.files())
      if (std::find(opened_.files.begin(), opened_.files.end(), file) == opened_.files.end())
        opened_.files.push_back(file);
    return {};
  }

  OpenedScript take(std::string_view source) {
    opened_.source = source;
    int deepest = 0;
    for (const ScriptLayer& layer : opened_.layers) {
      if (layer.depth < deepest) continue;
      deepest = layer.depth;
      opened_.source = layer.source;
    }
    return std::move(opened_);
  }

 private:
  // The exec at token `i`; its first argument must be understood as a whole.
  Status open_exec(PythonEvaluator& evaluator, const std::vector<PythonToken>& tokens, std::size_t i, int depth) {
    const PythonToken& token = tokens[i];
    std::size_t at = i + 2;
    const PythonValue value = evaluator.expression(at);
    const bool whole = at < tokens.size() && (tokens[at].text == "," || tokens[at].text == ")");
    if (value.kind != PythonValue::Kind::text || !whole) {
      opened_.opaque.push_back(
          {token.line, depth, value.why.empty() ? token.text + " of something that is not a constant" : value.why});
      return {};
    }
    if (depth + 1 > kDeepest || opened_.layers.size() >= kMostLayers) {
      opened_.opaque.push_back({token.line, depth, "nested too deeply to follow"});
      return {};
    }
    std::string source = to_utf8(value.text);
    opened_.layers.push_back({token.text + "(" + value.how + ")", source, token.line, depth + 1});
    return open(source, depth + 1, evaluator.variables());
  }

  std::string name_;
  const ReadBeside& read_beside_;
  OpenedScript opened_;
};

}  // namespace

Result<OpenedScript> open_script(std::string_view source, const std::string& name, const ReadBeside& read_beside) {
  const std::string text = to_utf8(source);
  Opener opener(name, read_beside);
  P5_OK(opener.open(text, 0, {}));
  return opener.take(text);
}

}  // namespace par5
