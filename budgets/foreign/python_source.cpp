#include "budgets/foreign/python_source.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <map>
#include <set>

#include "budgets/foreign/text_encoding.h"

namespace par5 {
namespace {

using Kind = PythonToken::Kind;

bool is_name_start(char c) {
  return std::isalpha(static_cast<unsigned char>(c)) || c == '_' || static_cast<unsigned char>(c) >= 128;
}
bool is_name_part(char c) { return is_name_start(c) || std::isdigit(static_cast<unsigned char>(c)); }

// The value of a string literal's inside.
std::string unescaped(std::string_view text, bool bytes) {
  std::string out;
  const auto digits = [&](std::size_t at, std::size_t count, int base, std::uint32_t& value) {
    if (at + count > text.size()) return false;
    const char* end = text.data() + at + count;
    return std::from_chars(text.data() + at, end, value, base).ptr == end;
  };
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\\' || i + 1 == text.size()) {
      out += text[i];
      continue;
    }
    const char next = text[++i];
    std::uint32_t value = 0;
    switch (next) {
      case '\n':
        break;
      case 'n':
        out += '\n';
        break;
      case 't':
        out += '\t';
        break;
      case 'r':
        out += '\r';
        break;
      case 'a':
        out += '\a';
        break;
      case 'b':
        out += '\b';
        break;
      case 'f':
        out += '\f';
        break;
      case 'v':
        out += '\v';
        break;
      case '\\':
      case '\'':
      case '"':
        out += next;
        break;
      case 'x':
        if (digits(i + 1, 2, 16, value)) {
          i += 2;
          if (bytes)
            out += static_cast<char>(value);
          else
            append_utf8(out, value);
        } else {
          out += "\\x";
        }
        break;
      case 'u':
      case 'U': {
        const std::size_t count = next == 'u' ? 4 : 8;
        if (!bytes && digits(i + 1, count, 16, value)) {
          i += count;
          append_utf8(out, value);
        } else {
          (out += '\\') += next;
        }
        break;
      }
      default:
        if (next >= '0' && next <= '7') {
          std::size_t count = 1;
          while (count < 3 && i + count < text.size() && text[i + count] >= '0' && text[i + count] <= '7') ++count;
          digits(i, count, 8, value);
          i += count - 1;
          if (bytes)
            out += static_cast<char>(value);
          else
            append_utf8(out, value);
        } else {
          (out += '\\') += next;
        }
    }
  }
  return out;
}

class Lexer {
 public:
  explicit Lexer(std::string_view source) : source_(source) {}

  Result<std::vector<PythonToken>> run() {
    while (position_ < source_.size()) {
      const char c = source_[position_];
      if (c == '\n') {
        if (depth_ == 0) end_line();
        ++line_;
        ++position_;
      } else if (c == '\\' && position_ + 1 < source_.size() &&
                 (source_[position_ + 1] == '\n' || source_[position_ + 1] == '\r')) {
        position_ += source_[position_ + 1] == '\r' ? 2 : 1;
        ++position_;
        ++line_;
      } else if (std::isspace(static_cast<unsigned char>(c)) || c == '\0') {
        ++position_;
      } else if (c == '#') {
        while (position_ < source_.size() && source_[position_] != '\n') ++position_;
      } else if (is_name_start(c) || c == '"' || c == '\'') {
        P5_OK(name_or_string());
      } else if (std::isdigit(static_cast<unsigned char>(c))) {
        const std::size_t start = position_;
        while (position_ < source_.size() && (is_name_part(source_[position_]) || source_[position_] == '.'))
          ++position_;
        add(Kind::number, std::string(source_.substr(start, position_ - start)));
      } else {
        operation(c);
      }
    }
    end_line();
    return std::move(tokens_);
  }

 private:
  void add(Kind kind, std::string text) { tokens_.push_back({kind, std::move(text), false, false, line_}); }
  void end_line() {
    if (!tokens_.empty() && tokens_.back().kind != Kind::line_end) add(Kind::line_end, "");
  }
  void operation(char c) {
    if (c == '(' || c == '[' || c == '{') ++depth_;
    if ((c == ')' || c == ']' || c == '}') && depth_ > 0) --depth_;
    if (c == ';' && depth_ == 0) {
      end_line();
      ++position_;
      return;
    }
    std::size_t length = 1;
    static const std::set<std::string_view> two = {"==", "!=", "<=", ">=", "->", "+=", "-=", "*=", "/=", "//",
                                                   "**", ":=", "<<", ">>", "|=", "&=", "%=", "@=", "^="};
    if (two.count(source_.substr(position_, 2))) length = 2;
    add(Kind::operation, std::string(source_.substr(position_, length)));
    position_ += length;
  }
  Status name_or_string() {
    const std::size_t start = position_;
    while (position_ < source_.size() && is_name_part(source_[position_])) ++position_;
    const std::string_view prefix = source_.substr(start, position_ - start);
    const bool quote = position_ < source_.size() && (source_[position_] == '"' || source_[position_] == '\'');
    if (quote && prefix.size() <= 2 && prefix.find_first_not_of("rRbBuUfF") == std::string_view::npos)
      return string(prefix);
    add(Kind::name, std::string(prefix));
    return {};
  }
  Status string(std::string_view prefix) {
    const bool raw = prefix.find_first_of("rR") != std::string_view::npos;
    const char quote = source_[position_];
    const bool triple = source_.substr(position_, 3) == std::string(3, quote);
    const std::string end = triple ? std::string(3, quote) : std::string(1, quote);
    const std::size_t start = position_ + end.size();
    std::size_t at = start;
    const std::size_t first_line = line_;
    for (;; ++at) {
      if (at >= source_.size() || (!triple && source_[at] == '\n'))
        return bad_data("a Python string that begins on line " + std::to_string(first_line) + " does not end", {},
                        position_);
      if (source_[at] == '\n') ++line_;
      if (source_[at] == '\\') {
        ++at;
        if (at < source_.size() && source_[at] == '\n') ++line_;
        continue;
      }
      if (source_.substr(at, end.size()) == end) break;
    }
    PythonToken token{Kind::string,
                      {},
                      prefix.find_first_of("bB") != std::string_view::npos,
                      prefix.find_first_of("fF") != std::string_view::npos,
                      first_line};
    const std::string_view inside = source_.substr(start, at - start);
    token.text = raw ? std::string(inside) : unescaped(inside, token.is_bytes);
    tokens_.push_back(std::move(token));
    position_ = at + end.size();
    return {};
  }

  std::string_view source_;
  std::vector<PythonToken> tokens_;
  std::size_t position_ = 0, line_ = 1;
  int depth_ = 0;
};

bool is(const std::vector<PythonToken>& tokens, std::size_t at, Kind kind, std::string_view text) {
  return at < tokens.size() && tokens[at].kind == kind && tokens[at].text == text;
}

// "a.b.c" from position `at`, which moves behind it.
std::string dotted_name(const std::vector<PythonToken>& tokens, std::size_t& at) {
  std::string name;
  while (is(tokens, at, Kind::operation, ".")) {
    name += '.';
    ++at;
  }
  while (at < tokens.size() && tokens[at].kind == Kind::name) {
    name += tokens[at++].text;
    if (!is(tokens, at, Kind::operation, ".") || at + 1 >= tokens.size() || tokens[at + 1].kind != Kind::name) break;
    name += '.';
    ++at;
  }
  return name;
}

std::string optional_alias(const std::vector<PythonToken>& tokens, std::size_t& at, const std::string& otherwise) {
  if (!is(tokens, at, Kind::name, "as") || at + 1 >= tokens.size()) return otherwise;
  at += 2;
  return tokens[at - 1].text;
}

}  // namespace

Result<std::vector<PythonToken>> python_tokens(std::string_view source) { return Lexer(source).run(); }

std::vector<PythonImport> python_imports(const std::vector<PythonToken>& tokens) {
  std::vector<PythonImport> imports;
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    const bool starts = i == 0 || tokens[i - 1].kind == Kind::line_end || tokens[i - 1].text == ":";
    if (!starts || tokens[i].kind != Kind::name) continue;
    const std::size_t line = tokens[i].line;
    if (tokens[i].text == "import") {
      for (std::size_t at = i + 1; at < tokens.size();) {
        const std::string module = dotted_name(tokens, at);
        if (module.empty()) break;
        imports.push_back({module, "", optional_alias(tokens, at, module.substr(0, module.find('.'))), line});
        if (!is(tokens, at, Kind::operation, ",")) break;
        ++at;
      }
    } else if (tokens[i].text == "from") {
      std::size_t at = i + 1;
      std::string module = dotted_name(tokens, at);
      // `from . import x`: the dots alone are followed by the word import, which dotted_name took for a name.
      if (module.ends_with("import") && module.find_first_not_of('.') == module.size() - 6)
        module.resize(module.size() - 6);
      else if (is(tokens, at, Kind::name, "import"))
        ++at;
      else
        continue;
      while (at < tokens.size() && tokens[at].kind != Kind::line_end) {
        if (tokens[at].kind != Kind::name && !is(tokens, at, Kind::operation, "*")) {
          ++at;
          continue;
        }
        const std::string name = tokens[at++].text;
        imports.push_back({module, name, optional_alias(tokens, at, name), line});
      }
    }
  }
  return imports;
}

std::vector<PythonCall> python_calls(const std::vector<PythonToken>& tokens) {
  std::map<std::string, std::string> aliases;
  for (const PythonImport& import : python_imports(tokens))
    aliases[import.alias] =
        import.name.empty()
            ? (import.alias == import.module.substr(0, import.module.find('.')) ? import.alias : import.module)
            : import.module + "." + import.name;
  std::vector<PythonCall> calls;
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    if (tokens[i].kind != Kind::name ||
        (i > 0 && (tokens[i - 1].text == "." || tokens[i - 1].text == "def" || tokens[i - 1].text == "class")))
      continue;
    std::size_t at = i;
    std::string name = dotted_name(tokens, at);
    static const std::set<std::string_view> keywords = {"and",  "assert", "await",  "del",   "elif", "except", "for",
                                                        "from", "if",     "import", "in",    "is",   "lambda", "not",
                                                        "or",   "raise",  "return", "while", "with", "yield"};
    if (!is(tokens, at, Kind::operation, "(") || keywords.count(name)) continue;
    const std::string first = name.substr(0, name.find('.'));
    if (const auto alias = aliases.find(first); alias != aliases.end())
      name = alias->second + name.substr(first.size());
    PythonCall call{name, {}, tokens[i].line};
    int depth = 0;
    constexpr std::size_t kMostTokens = 20'000;  // of one call's arguments
    for (const std::size_t end = std::min(tokens.size(), at + kMostTokens); at < end; ++at) {
      if (tokens[at].kind == Kind::string && !tokens[at].formatted) call.strings.push_back(tokens[at].text);
      if (tokens[at].kind != Kind::operation) continue;
      if (tokens[at].text == "(" || tokens[at].text == "[" || tokens[at].text == "{") ++depth;
      if ((tokens[at].text == ")" || tokens[at].text == "]" || tokens[at].text == "}") && --depth == 0) break;
    }
    calls.push_back(std::move(call));
  }
  return calls;
}

bool is_standard_module(std::string_view module) {
  static const std::set<std::string_view> names = {"__future__",  "_thread",      "abc",          "argparse",
                                                   "array",       "ast",          "asyncio",      "atexit",
                                                   "base64",      "binascii",     "bisect",       "builtins",
                                                   "bz2",         "calendar",     "cmath",        "codecs",
                                                   "collections", "concurrent",   "configparser", "contextlib",
                                                   "contextvars", "copy",         "copyreg",      "csv",
                                                   "ctypes",      "dataclasses",  "datetime",     "decimal",
                                                   "difflib",     "dis",          "email",        "encodings",
                                                   "enum",        "errno",        "faulthandler", "fcntl",
                                                   "filecmp",     "fileinput",    "fnmatch",      "fractions",
                                                   "ftplib",      "functools",    "gc",           "getopt",
                                                   "getpass",     "glob",         "gzip",         "hashlib",
                                                   "heapq",       "hmac",         "html",         "http",
                                                   "importlib",   "inspect",      "io",           "ipaddress",
                                                   "itertools",   "json",         "keyword",      "linecache",
                                                   "locale",      "logging",      "lzma",         "marshal",
                                                   "math",        "mimetypes",    "mmap",         "multiprocessing",
                                                   "numbers",     "operator",     "os",           "pathlib",
                                                   "pickle",      "pkgutil",      "platform",     "plistlib",
                                                   "pprint",      "profile",      "pstats",       "pty",
                                                   "queue",       "random",       "re",           "readline",
                                                   "resource",    "runpy",        "sched",        "secrets",
                                                   "select",      "selectors",    "shelve",       "shlex",
                                                   "shutil",      "signal",       "site",         "smtplib",
                                                   "socket",      "socketserver", "sqlite3",      "ssl",
                                                   "stat",        "statistics",   "string",       "struct",
                                                   "subprocess",  "symtable",     "sys",          "sysconfig",
                                                   "tarfile",     "tempfile",     "termios",      "textwrap",
                                                   "threading",   "time",         "timeit",       "token",
                                                   "tokenize",    "tomllib",      "trace",        "traceback",
                                                   "tracemalloc", "types",        "typing",       "unicodedata",
                                                   "unittest",    "urllib",       "uuid",         "venv",
                                                   "warnings",    "wave",         "weakref",      "webbrowser",
                                                   "xml",         "xmlrpc",       "zipapp",       "zipfile",
                                                   "zipimport",   "zlib",         "zoneinfo"};
  return names.count(module.substr(0, module.find('.'))) > 0;
}

}  // namespace par5
