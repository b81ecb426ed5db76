#include "budgets/foreign/python_evaluator.h"

#include <algorithm>
#include <charconv>

#include "budgets/foreign/decode.h"
#include "core/text.h"

namespace par5 {
namespace {

using Kind = PythonToken::Kind;
using Value = PythonValue;

constexpr std::uint64_t kMostScriptBytes = std::uint64_t{1} << 26;  // of one blob opened; scripts are far smaller

Value named(std::string name) {
  Value value;
  value.kind = Value::Kind::name;
  value.text = std::move(name);
  return value;
}
Value unknown(std::string why = {}) {
  Value value;
  value.why = std::move(why);
  return value;
}

std::string base_name(const std::string& path) { return path.substr(path.rfind('/') + 1); }

// The raw filter of lzma.decompress(…, format=FORMAT_RAW, filters=[{"id": FILTER_LZMA2, …}]).
std::optional<RawLzma> raw_filter(const Value& filters) {
  if (filters.kind != Value::Kind::list || filters.items.size() != 1) return std::nullopt;
  const std::vector<Value>& entry = filters.items[0].items;
  RawLzma raw;
  bool known = false;
  for (std::size_t i = 0; i + 1 < entry.size(); i += 2) {
    const std::string& key = entry[i].text;
    const Value& value = entry[i + 1];
    if (key == "id") {
      known = value.text == "lzma.FILTER_LZMA2" || value.number == 0x21 || value.text == "lzma.FILTER_LZMA1" ||
              value.number == 0x4000000000000001;
      raw.lzma2 = value.text == "lzma.FILTER_LZMA2" || value.number == 0x21;
    }
    if (key == "lc") raw.lc = static_cast<std::uint32_t>(value.number);
    if (key == "lp") raw.lp = static_cast<std::uint32_t>(value.number);
    if (key == "pb") raw.pb = static_cast<std::uint32_t>(value.number);
    if (key == "dict_size")
      raw.dictionary = static_cast<std::uint32_t>(std::clamp<std::int64_t>(value.number, 4096, std::int64_t{1} << 27));
  }
  return known ? std::optional(raw) : std::nullopt;
}

// base64.b85decode and its kin, by Python's name; nothing where the name is none of them.
std::optional<Result<std::string>> decode_text(const std::string& function, const std::string& text) {
  if (function == "base64.b85decode") return decode_base85(text);
  if (function == "base64.a85decode") return decode_ascii85(text);
  if (function == "base64.b64decode" || function == "base64.standard_b64decode" || function == "base64.decodebytes" ||
      function == "binascii.a2b_base64")
    return decode_base64(text);
  if (function == "base64.urlsafe_b64decode") return decode_base64(text, true);
  if (function == "base64.b32decode") return decode_base32(text);
  if (function == "base64.b16decode" || function == "bytes.fromhex" || function == "bytearray.fromhex" ||
      function == "binascii.unhexlify" || function == "binascii.a2b_hex")
    return decode_hex(text);
  if (function == "gzip.decompress") return decode_deflate(text, DeflateForm::gzip, kMostScriptBytes);
  if (function == "brotli.decompress" || function == "brotlicffi.decompress")
    return decode_brotli(text, kMostScriptBytes);
  if (function == "zstandard.decompress" || function == "zstd.decompress" || function == "compression.zstd.decompress")
    return decode_zstd(text, kMostScriptBytes);
  return std::nullopt;
}

}  // namespace

PythonValue PythonValue::of_text(std::string text, std::string how) {
  PythonValue value;
  value.kind = Kind::text;
  value.text = std::move(text);
  value.how = std::move(how);
  return value;
}

PythonEvaluator::PythonEvaluator(const std::vector<PythonToken>& tokens, std::string script_name,
                                 const ReadBeside& read_beside, std::map<std::string, PythonValue> variables)
    : tokens_(tokens),
      script_name_(std::move(script_name)),
      read_beside_(read_beside),
      variables_(std::move(variables)) {
  variables_["__file__"] = PythonValue::of_text(script_name_, "__file__");
  for (const PythonImport& import : python_imports(tokens_)) {
    if (!import.name.empty())
      variables_[import.alias] = named(import.module + "." + import.name);
    else
      variables_[import.alias] =
          named(import.alias == import.module.substr(0, import.module.find('.')) ? import.alias : import.module);
  }
}

bool PythonEvaluator::next_is(std::size_t at, std::string_view operation) const {
  return at < tokens_.size() && tokens_[at].kind == Kind::operation && tokens_[at].text == operation;
}

Value PythonEvaluator::expression(std::size_t& at) {
  constexpr int kDeepest = 64;
  if (++depth_ > kDeepest) {
    --depth_;
    return unknown();
  }
  Value value = term(at);
  for (;;) {
    if (next_is(at, "+")) {
      Value other = term(++at);
      const bool texts = value.kind == Value::Kind::text && other.kind == Value::Kind::text;
      if (texts && value.text.size() + other.text.size() <= kMostScriptBytes) {
        value.text += other.text;
        value.how = "text of " + grouped(static_cast<std::int64_t>(value.text.size())) + " characters";
      } else {
        value = unknown(value.why.empty() ? other.why : value.why);
      }
    } else if (next_is(at, "/")) {  // of paths
      const Value other = term(++at);
      if ((value.kind == Value::Kind::folder || value.kind == Value::Kind::file) && other.kind == Value::Kind::text) {
        value.kind = Value::Kind::file;
        value.text = value.text.empty() ? other.text : value.text + "/" + other.text;
      } else {
        value = unknown();
      }
    } else {
      break;
    }
  }
  --depth_;
  return value;
}

Value PythonEvaluator::term(std::size_t& at) {
  Value value = atom(at);
  for (;;) {
    if (next_is(at, ".") && at + 1 < tokens_.size() && tokens_[at + 1].kind == Kind::name) {
      const std::string name = tokens_[at + 1].text;
      at += 2;
      if (value.kind != Value::Kind::name && next_is(at, "(")) {
        const std::vector<Argument> given = arguments(at);
        value = method(value, name, given);
      } else {
        value = member(std::move(value), name);
      }
    } else if (next_is(at, "(")) {
      const std::string function = value.kind == Value::Kind::name ? value.text : "";
      const std::string why = value.why;
      const std::vector<Argument> given = arguments(at);
      value = function.empty() ? unknown(why) : call(function, given);
    } else if (next_is(at, "[")) {
      value = subscript(std::move(value), at);
    } else {
      return value;
    }
  }
}

Value PythonEvaluator::atom(std::size_t& at) {
  if (at >= tokens_.size() || tokens_[at].kind == Kind::line_end) return unknown();
  const PythonToken& token = tokens_[at];
  if (token.kind == Kind::string) {
    std::string text;
    bool formatted = false;
    for (; at < tokens_.size() && tokens_[at].kind == Kind::string; ++at) {  // adjacent literals are one
      text += tokens_[at].text;
      formatted = formatted || tokens_[at].formatted;
    }
    if (formatted) return unknown();
    std::string how = "text of " + grouped(static_cast<std::int64_t>(text.size())) + " characters";
    return Value::of_text(std::move(text), std::move(how));
  }
  ++at;
  if (token.kind == Kind::number) {
    Value value;
    value.kind = Value::Kind::number;
    std::string digits = token.text;
    std::erase(digits, '_');
    const bool hexadecimal = digits.starts_with("0x");
    std::from_chars(digits.data() + (hexadecimal ? 2 : 0), digits.data() + digits.size(), value.number,
                    hexadecimal ? 16 : 10);
    return value;
  }
  if (token.kind == Kind::name) {
    const auto found = variables_.find(token.text);
    return found != variables_.end() ? found->second : named(token.text);
  }
  if (token.text == "-") {
    Value value = atom(at);
    value.number = value.number == INT64_MIN ? 0 : -value.number;
    return value.kind == Value::Kind::number ? value : unknown();
  }
  if (token.text == "(") return brackets(at, ")");
  if (token.text == "[") return brackets(at, "]");
  if (token.text == "{") return brackets(at, "}");
  return unknown();
}

// Behind an opening bracket: a parenthesised expression, a tuple, list or dict. Ends behind the closing one.
Value PythonEvaluator::brackets(std::size_t& at, std::string_view close) {
  Value list;
  list.kind = Value::Kind::list;
  bool comma = false;
  while (at < tokens_.size() && !next_is(at, close)) {
    const std::size_t before = at;
    list.items.push_back(expression(at));
    if (next_is(at, ",") || next_is(at, ":")) {
      comma = true;
      ++at;
    } else if (at == before || !next_is(at, close)) {  // a comprehension, an operator: not followed
      int depth = 1;
      for (; at < tokens_.size() && tokens_[at].kind != Kind::line_end; ++at) {
        const std::string& text = tokens_[at].text;
        if (tokens_[at].kind != Kind::operation) continue;
        if (text == "(" || text == "[" || text == "{") ++depth;
        if ((text == ")" || text == "]" || text == "}") && --depth == 0) break;
      }
      if (at < tokens_.size()) ++at;
      return unknown();
    }
  }
  if (at < tokens_.size()) ++at;
  if (close == ")" && !comma && list.items.size() == 1) return std::move(list.items[0]);
  return list;
}

std::vector<PythonEvaluator::Argument> PythonEvaluator::arguments(std::size_t& at) {
  ++at;  // "("
  std::vector<Argument> given;
  while (at < tokens_.size() && !next_is(at, ")")) {
    Argument argument;
    if (tokens_[at].kind == Kind::name && next_is(at + 1, "=")) {
      argument.keyword = tokens_[at].text;
      at += 2;
    }
    argument.value = expression(at);
    given.push_back(std::move(argument));
    if (next_is(at, ",")) {
      ++at;
      continue;
    }
    if (next_is(at, ")")) break;
    given.back().value = unknown();  // followed by something that is not understood: skip to the end of the argument
    int depth = 0;
    for (; at < tokens_.size() && tokens_[at].kind != Kind::line_end; ++at) {
      const std::string& text = tokens_[at].text;
      if (tokens_[at].kind != Kind::operation) continue;
      if (depth == 0 && (text == ")" || text == ",")) break;
      if (text == "(" || text == "[" || text == "{") ++depth;
      if (text == ")" || text == "]" || text == "}") --depth;
    }
    if (next_is(at, ","))
      ++at;
    else if (!next_is(at, ")"))
      break;
  }
  if (next_is(at, ")")) ++at;
  return given;
}

// [::-1] reverses a text; other subscripts are not followed.
Value PythonEvaluator::subscript(Value value, std::size_t& at) {
  const bool reverses = next_is(at + 1, ":") && next_is(at + 2, ":") && next_is(at + 3, "-") &&
                        at + 5 < tokens_.size() && tokens_[at + 4].text == "1" && next_is(at + 5, "]");
  if (reverses && value.kind == Value::Kind::text) {
    at += 6;
    std::reverse(value.text.begin(), value.text.end());
    value.how = "reversed(" + value.how + ")";
    return value;
  }
  ++at;
  (void)brackets(at, "]");
  return unknown();
}

Value PythonEvaluator::member(Value value, const std::string& name) {
  if (value.kind == Value::Kind::name) return named(value.text + "." + name);
  if (value.kind == Value::Kind::file && name == "parent") {
    value.kind = Value::Kind::folder;
    value.text = value.text.find('/') == std::string::npos ? "" : value.text.substr(0, value.text.rfind('/'));
    return value;
  }
  return unknown();
}

Value PythonEvaluator::read(const std::string& file) {
  const std::string name = file.starts_with("./") ? file.substr(2) : file;
  auto content = read_beside_(name);
  if (!content) return unknown("reads '" + name + "', which is not there (" + content.error().message + ")");
  if (std::find(files_.begin(), files_.end(), name) == files_.end()) files_.push_back(name);
  return Value::of_text(std::move(*content), "file '" + name + "'");
}

Value PythonEvaluator::method(const Value& object, const std::string& name, const std::vector<Argument>& given) {
  const auto text_argument = [&](std::size_t i) {
    return i < given.size() && given[i].value.kind == Value::Kind::text;
  };
  if (object.kind == Value::Kind::text) {
    if (name == "decode" || name == "encode" || name == "strip" || name == "tobytes") return object;
    if (name == "replace" && text_argument(0) && text_argument(1) && !given[0].value.text.empty()) {
      Value value = object;
      value.text.clear();
      for (std::size_t at = 0;;) {
        const std::size_t found = object.text.find(given[0].value.text, at);
        value.text += object.text.substr(at, found - at);
        if (found == std::string::npos) break;
        value.text += given[1].value.text;
        at = found + given[0].value.text.size();
        if (value.text.size() > kMostScriptBytes)
          return unknown("a replacement grows beyond " + std::to_string(kMostScriptBytes) + " bytes");
      }
      return value;
    }
    if (name == "join" && given.size() == 1 && given[0].value.kind == Value::Kind::list) {
      std::string joined;
      for (const Value& item : given[0].value.items) {
        if (item.kind != Value::Kind::text || joined.size() + item.text.size() > kMostScriptBytes) return unknown();
        joined += (&item == given[0].value.items.data() ? "" : object.text) + item.text;
      }
      std::string how = "text of " + grouped(static_cast<std::int64_t>(joined.size())) + " characters";
      return Value::of_text(std::move(joined), std::move(how));
    }
  }
  if (object.kind == Value::Kind::file) {
    if (name == "read" || name == "read_text" || name == "read_bytes") return read(object.text);
    if (name == "resolve" || name == "absolute" || name == "open") return object;
    if ((name == "with_name" || name == "joinpath") && text_argument(0)) {
      Value value = object;
      const std::size_t slash = value.text.rfind('/');
      value.text = (slash == std::string::npos ? "" : value.text.substr(0, slash + 1)) + given[0].value.text;
      return value;
    }
  }
  if (object.kind == Value::Kind::folder && name == "joinpath" && text_argument(0)) {
    Value value = object;
    value.kind = Value::Kind::file;
    value.text = value.text.empty() ? given[0].value.text : value.text + "/" + given[0].value.text;
    return value;
  }
  return unknown(object.why);
}

Value PythonEvaluator::call(const std::string& function, const std::vector<Argument>& given) {
  if (given.empty()) return unknown();
  const Value& first = given[0].value;
  const auto keyword = [&](const std::string& name, std::size_t position) -> const Value* {
    for (std::size_t i = 0; i < given.size(); ++i)
      if (given[i].keyword == name || (given[i].keyword.empty() && i == position)) return &given[i].value;
    return nullptr;
  };
  if (first.kind == Value::Kind::text) {
    const auto decoded = [&](Result<std::string> result) {
      if (!result) return unknown(function + ": " + result.error().message);
      return Value::of_text(std::move(*result), function + "(" + first.how + ")");
    };
    if (auto result = decode_text(function, first.text)) return decoded(std::move(*result));
    if (function == "zlib.decompress") {
      const Value* window = keyword("wbits", 1);
      const std::int64_t bits = window && window->kind == Value::Kind::number ? window->number : 15;
      const DeflateForm form = bits < 0 ? DeflateForm::raw : bits > 15 ? DeflateForm::gzip : DeflateForm::zlib;
      return decoded(decode_deflate(first.text, form, kMostScriptBytes));
    }
    if (function == "lzma.decompress") {
      const Value* format = keyword("format", 1);
      const Value* filters = keyword("filters", 3);
      const bool raw = format && (format->text == "lzma.FORMAT_RAW" || format->number == 3);
      const auto filter = raw && filters ? raw_filter(*filters) : std::nullopt;
      if (raw && !filter) return unknown("lzma.decompress with filters that are not followed");
      return decoded(decode_lzma(first.text, filter, kMostScriptBytes));
    }
    if (function == "codecs.decode" || function == "codecs.encode") {
      const Value* codec = keyword("encoding", 1);
      const std::string name = codec ? codec->text : "";
      if (name == "base64") return decoded(decode_base64(first.text));
      if (name == "hex") return decoded(decode_hex(first.text));
      if (name == "zlib") return decoded(decode_deflate(first.text, DeflateForm::zlib, kMostScriptBytes));
      return unknown("codecs with '" + name + "' is not followed");
    }
    if (function == "compile" || function == "str" || function == "bytes" || function == "bytearray" ||
        function == "io.BytesIO" || function == "memoryview")
      return first;
    if (function == "__import__" || function == "importlib.import_module") return named(first.text);
    if (function == "open" || function == "io.open" || function == "Path" || function == "pathlib.Path") {
      Value file = first;
      file.kind = Value::Kind::file;
      return file;
    }
    if (function == "os.path.dirname") {
      Value folder = first;
      folder.kind = Value::Kind::folder;
      folder.text = first.text.find('/') == std::string::npos ? "" : first.text.substr(0, first.text.rfind('/'));
      return folder;
    }
    if (function == "os.path.abspath" || function == "os.path.realpath") return first;
    if (function == "os.path.basename") return Value::of_text(base_name(first.text), first.how);
  }
  if (first.kind == Value::Kind::file &&
      (function == "open" || function == "Path" || function == "pathlib.Path" || function == "str"))
    return first;
  if (function == "os.path.join" && (first.kind == Value::Kind::folder || first.kind == Value::Kind::text) &&
      given.size() == 2 && given[1].value.kind == Value::Kind::text) {
    Value file = first;
    file.kind = Value::Kind::text;
    file.text = first.text.empty() ? given[1].value.text : first.text + "/" + given[1].value.text;
    return file;
  }
  return unknown(first.why.empty() ? "calls " + function + ", which is not followed" : first.why);
}

}  // namespace par5
