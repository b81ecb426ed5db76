#include "budgets/records/tolerant_json.h"

#include <cctype>

#include "budgets/foreign/text_encoding.h"

namespace par5 {
namespace {

// Copies the text without comments and trailing commas, Python's words replaced. Strings are left alone. `strict` stays
// true where NaN and Infinity are all that is replaced.
std::string repaired(std::string_view text, bool& strict) {
  std::string out;
  const auto is_word = [](char c) { return std::isalnum(static_cast<unsigned char>(c)) || c == '_'; };
  for (std::size_t i = 0; i < text.size();) {
    const char c = text[i];
    if (c == '"') {
      const std::size_t start = i++;
      while (i < text.size() && text[i] != '"') i += text[i] == '\\' ? 2 : 1;
      i = std::min(i + 1, text.size());
      out += text.substr(start, i - start);
    } else if (c == '#' || (c == '/' && i + 1 < text.size() && text[i + 1] == '/')) {
      while (i < text.size() && text[i] != '\n') ++i;
      strict = false;
    } else if (c == ',') {
      std::size_t next = i + 1;
      while (next < text.size() && std::isspace(static_cast<unsigned char>(text[next]))) ++next;
      if (next >= text.size() || (text[next] != '}' && text[next] != ']'))
        out += c;
      else
        strict = false;
      ++i;
    } else if (std::isalpha(static_cast<unsigned char>(c))) {
      const std::size_t start = i;
      while (i < text.size() && is_word(text[i])) ++i;
      const std::string_view word = text.substr(start, i - start);
      strict = strict && word != "True" && word != "False" && word != "None";
      out += word == "True"                                                                            ? "true"
             : word == "False"                                                                         ? "false"
             : word == "None" || word == "NaN" || word == "nan" || word == "Infinity" || word == "inf" ? "null"
                                                                                                       : word;
    } else {
      out += c;
      ++i;
    }
  }
  return out;
}

bool too_deep(std::string_view text) {
  int depth = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '"')
      for (++i; i < text.size() && text[i] != '"'; ++i) i += text[i] == '\\';
    else if (text[i] == '{' || text[i] == '[') {
      if (++depth > 100) return true;
    } else if (text[i] == '}' || text[i] == ']') {
      --depth;
    }
  }
  return false;
}

}  // namespace

Result<TolerantJson> read_tolerant_json(std::string_view bytes, const std::string& path) {
  using Json = nlohmann::ordered_json;
  const std::string text = to_utf8(bytes);
  if (too_deep(text)) return bad_data("'" + path + "' is nested too deeply", path);
  Json value = Json::parse(text, nullptr, false);
  if (!value.is_discarded()) return TolerantJson{std::move(value)};
  bool strict = true;
  const std::string better = repaired(text, strict);
  try {
    return TolerantJson{Json::parse(better), strict};
  } catch (const Json::parse_error& error) {
    return bad_data("'" + path + "' is not JSON, also after repairing comments and trailing commas", path, error.byte);
  }
}

}  // namespace par5
