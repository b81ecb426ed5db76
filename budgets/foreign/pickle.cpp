#include "budgets/foreign/pickle.h"

#include <algorithm>
#include <bit>
#include <charconv>
#include <unordered_map>

#include "core/file.h"

namespace par5 {
namespace {

class Interpreter {
 public:
  Interpreter(std::span<const std::byte> bytes, const std::string& path, const PickleLimits& limits)
      : bytes_(bytes), path_(path), limits_(limits) {
    document_.nodes.emplace_back();
  }

  Result<PickleDocument> run() {
    for (;;) {
      opcode_at_ = position_;
      P5_TRY(const std::uint64_t opcode, fixed(1));
      if (opcode == '.') break;
      P5_OK(step(static_cast<char>(opcode)));
      if (document_.nodes.size() > limits_.max_nodes)
        return resource_limit("the pickle '" + path_ + "' makes more than " + std::to_string(limits_.max_nodes) +
                              " objects");
    }
    P5_TRY(document_.root, pop());
    document_.end = position_;
    return std::move(document_);
  }

 private:
  tl::unexpected<Error> wrong(const std::string& what) const {
    return bad_data("the pickle in '" + path_ + "' " + what, path_, opcode_at_);
  }

  // ---- bytes
  Result<std::string_view> take(std::uint64_t count) {
    if (count > bytes_.size() - position_) return wrong("ends inside an opcode's argument");
    const auto part = bytes_.subspan(position_, static_cast<std::size_t>(count));
    position_ += static_cast<std::size_t>(count);
    return std::string_view(reinterpret_cast<const char*>(part.data()), part.size());
  }
  Result<std::uint64_t> fixed(int width) {
    P5_TRY(const auto part, take(static_cast<std::uint64_t>(width)));
    std::uint64_t value = 0;
    for (int i = 0; i < width; ++i)
      value |= static_cast<std::uint64_t>(static_cast<unsigned char>(part[static_cast<std::size_t>(i)])) << (8 * i);
    return value;
  }
  Result<std::string_view> counted(int width) {
    P5_TRY(const std::uint64_t count, fixed(width));
    return take(count);
  }
  Result<std::string_view> line() {
    const std::string_view rest(reinterpret_cast<const char*>(bytes_.data()) + position_, bytes_.size() - position_);
    const std::size_t end = rest.find('\n');
    if (end == std::string_view::npos) return wrong("ends inside a line");
    position_ += end + 1;
    return rest.substr(0, end);
  }

  // ---- stack
  PickleIndex make(PickleNode node) {
    document_.nodes.push_back(std::move(node));
    return static_cast<PickleIndex>(document_.nodes.size() - 1);
  }
  Status push(PickleNode node) {
    stack_.push_back(make(std::move(node)));
    return {};
  }
  Result<PickleIndex> pop() {
    if (stack_.size() <= (marks_.empty() ? 0 : marks_.back()))
      return wrong("takes more from its stack than it put there");
    const PickleIndex top = stack_.back();
    stack_.pop_back();
    return top;
  }
  Result<PickleIndex> top() const {
    if (stack_.size() <= (marks_.empty() ? 0 : marks_.back())) return wrong("uses an empty stack");
    return stack_.back();
  }
  Result<std::vector<PickleIndex>> pop_to_mark() {
    if (marks_.empty()) return wrong("has an opcode that needs a mark and none was set");
    std::vector<PickleIndex> items(stack_.begin() + static_cast<std::ptrdiff_t>(marks_.back()), stack_.end());
    stack_.resize(marks_.back());
    marks_.pop_back();
    return items;
  }

  Status push_integer(std::int64_t value, PickleKind kind = PickleKind::integer) {
    PickleNode node;
    node.kind = kind;
    node.integer = value;
    return push(std::move(node));
  }
  Status push_text(PickleKind kind, std::string_view text) {
    PickleNode node;
    node.kind = kind;
    node.text = text;
    return push(std::move(node));
  }
  Status push_items(PickleKind kind, std::vector<PickleIndex> items) {
    PickleNode node;
    node.kind = kind;
    node.items = std::move(items);
    return push(std::move(node));
  }
  std::string_view own(std::string text) { return document_.strings.emplace_back(std::move(text)); }

  Status push_global(std::string_view module, std::string_view name) {
    const std::string_view text = own(std::string(module) + "." + std::string(name));
    if (std::find(document_.globals.begin(), document_.globals.end(), text) == document_.globals.end() &&
        document_.globals.size() < 10'000)
      document_.globals.emplace_back(text);
    return push_text(PickleKind::global, text);
  }
  Status push_long(std::string_view little_endian) {
    if (little_endian.size() > 8) return push_text(PickleKind::big_integer, little_endian);
    std::uint64_t value = 0;
    for (std::size_t i = 0; i < little_endian.size(); ++i)
      value |= static_cast<std::uint64_t>(static_cast<unsigned char>(little_endian[i])) << (8 * i);
    const int unused = 64 - 8 * static_cast<int>(little_endian.size());
    const std::int64_t sign_extended = unused == 64 ? 0 : static_cast<std::int64_t>(value << unused) >> unused;
    return push_integer(sign_extended);
  }
  // "callee(arguments)": a node, never a call.
  Status push_call(PickleIndex callee, PickleIndex arguments) {
    return push_items(PickleKind::call, {callee, arguments});
  }

  Status push_decimal(std::string_view text) {
    if (text == "00" || text == "01") return push_integer(text == "01", PickleKind::boolean);
    if (text.ends_with('L')) text.remove_suffix(1);
    std::int64_t value = 0;
    const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (failure == std::errc::result_out_of_range) return push_text(PickleKind::big_integer, text);
    if (failure != std::errc() || end != text.data() + text.size()) return wrong("holds a number that is none");
    return push_integer(value);
  }

  // STRING's argument: a quoted Python literal with backslash escapes.
  Result<std::string> unquoted(std::string_view text) const {
    if (text.size() < 2 || text.front() != text.back() || (text.front() != '\'' && text.front() != '"'))
      return wrong("holds a string without quotes");
    return unescaped(text.substr(1, text.size() - 2));
  }
  static std::string unescaped(std::string_view text) {
    std::string out;
    for (std::size_t i = 0; i < text.size(); ++i) {
      if (text[i] != '\\' || i + 1 == text.size()) {
        out += text[i];
        continue;
      }
      const char next = text[++i];
      unsigned value = 0;
      if (next == 'x' && i + 2 < text.size() &&
          std::from_chars(text.data() + i + 1, text.data() + i + 3, value, 16).ptr == text.data() + i + 3) {
        out += static_cast<char>(value);
        i += 2;
      } else {
        out += next == 'n' ? '\n' : next == 't' ? '\t' : next == 'r' ? '\r' : next;
      }
    }
    return out;
  }

  Status set_memo(std::uint64_t key) {
    P5_TRY(const PickleIndex value, top());
    memo_[key] = value;
    return {};
  }
  Status get_memo(std::uint64_t key) {
    const auto found = memo_.find(key);
    if (found == memo_.end()) return wrong("asks for memo " + std::to_string(key) + ", which was never stored");
    stack_.push_back(found->second);
    return {};
  }
  Result<std::uint64_t> memo_key() {
    P5_TRY(const std::string_view text, line());
    std::uint64_t key = 0;
    const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), key);
    if (failure != std::errc() || end != text.data() + text.size()) return wrong("names a memo that is no number");
    return key;
  }
  // Appends to the container on top. What is no such container (an object under construction) keeps the items as well.
  Status extend(std::vector<PickleIndex> items) {
    P5_TRY(const PickleIndex target, top());
    auto& into = document_.nodes[target].kind == PickleKind::call ? extra_items(target) : document_.nodes[target].items;
    into.insert(into.end(), items.begin(), items.end());
    return {};
  }
  // Items that a call's object is given afterwards (OrderedDict() and then SETITEMS) stand behind callee and arguments.
  std::vector<PickleIndex>& extra_items(PickleIndex call) { return document_.nodes[call].items; }

  Status step(char opcode) {
    switch (opcode) {
      case '\x80': {  // PROTO
        P5_TRY(const std::uint64_t version, fixed(1));
        if (version > 5) return wrong("is of protocol " + std::to_string(version) + ", which is not known");
        return {};
      }
      case '\x95':
        return discard(take(8));  // FRAME
      case '(':
        marks_.push_back(stack_.size());
        return {};
      case '0':
        if (!marks_.empty() && stack_.size() == marks_.back()) {
          marks_.pop_back();
          return {};
        }
        return discard(pop());
      case '1':
        return discard(pop_to_mark());
      case '2': {
        P5_TRY(const PickleIndex value, top());
        stack_.push_back(value);
        return {};
      }
      case 'N':
        return push({});
      case '\x88':
        return push_integer(1, PickleKind::boolean);
      case '\x89':
        return push_integer(0, PickleKind::boolean);
      case 'I':
      case 'L': {
        P5_TRY(const auto text, line());
        return push_decimal(text);
      }
      case 'J': {
        P5_TRY(const auto value, fixed(4));
        return push_integer(static_cast<std::int32_t>(static_cast<std::uint32_t>(value)));
      }
      case 'K': {
        P5_TRY(const auto value, fixed(1));
        return push_integer(static_cast<std::int64_t>(value));
      }
      case 'M': {
        P5_TRY(const auto value, fixed(2));
        return push_integer(static_cast<std::int64_t>(value));
      }
      case '\x8a': {
        P5_TRY(const auto text, counted(1));
        return push_long(text);
      }
      case '\x8b': {
        P5_TRY(const auto text, counted(4));
        return push_long(text);
      }
      case 'F':
      case 'G':
        return push_real(opcode);
      case 'S': {
        P5_TRY(const auto text, line());
        P5_TRY(std::string value, unquoted(text));
        return push_text(PickleKind::string, own(std::move(value)));
      }
      case 'V': {
        P5_TRY(const auto text, line());
        return push_text(PickleKind::string, own(unescaped(text)));
      }
      case 'U':
      case '\x8c': {
        P5_TRY(const auto text, counted(1));
        return push_text(PickleKind::string, text);
      }
      case 'T':
      case 'X': {
        P5_TRY(const auto text, counted(4));
        return push_text(PickleKind::string, text);
      }
      case '\x8d': {
        P5_TRY(const auto text, counted(8));
        return push_text(PickleKind::string, text);
      }
      case 'C': {
        P5_TRY(const auto text, counted(1));
        return push_text(PickleKind::bytes, text);
      }
      case 'B': {
        P5_TRY(const auto text, counted(4));
        return push_text(PickleKind::bytes, text);
      }
      case '\x8e':
      case '\x96': {
        P5_TRY(const auto text, counted(8));
        return push_text(PickleKind::bytes, text);
      }
      default:
        return container_step(opcode);
    }
  }

  Status container_step(char opcode) {
    switch (opcode) {
      case ']':
        return push_items(PickleKind::list, {});
      case '}':
        return push_items(PickleKind::dict, {});
      case ')':
        return push_items(PickleKind::tuple, {});
      case '\x8f':
        return push_items(PickleKind::set, {});
      case 'l': {
        P5_TRY(auto items, pop_to_mark());
        return push_items(PickleKind::list, std::move(items));
      }
      case 't': {
        P5_TRY(auto items, pop_to_mark());
        return push_items(PickleKind::tuple, std::move(items));
      }
      case '\x91': {
        P5_TRY(auto items, pop_to_mark());
        return push_items(PickleKind::set, std::move(items));
      }
      case 'd': {
        P5_TRY(auto items, pop_to_mark());
        if (items.size() % 2) return wrong("holds a dict with a key and no value");
        return push_items(PickleKind::dict, std::move(items));
      }
      case '\x85':
      case '\x86':
      case '\x87': {
        std::vector<PickleIndex> items(static_cast<std::size_t>(static_cast<unsigned char>(opcode) - 0x84));
        for (auto item = items.rbegin(); item != items.rend(); ++item) {
          P5_TRY(*item, pop());
        }
        return push_items(PickleKind::tuple, std::move(items));
      }
      case 'a': {
        P5_TRY(const PickleIndex value, pop());
        return extend({value});
      }
      case 'e':
      case '\x90': {
        P5_TRY(auto items, pop_to_mark());
        return extend(std::move(items));
      }
      case 's': {
        P5_TRY(const PickleIndex value, pop());
        P5_TRY(const PickleIndex key, pop());
        return extend({key, value});
      }
      case 'u': {
        P5_TRY(auto items, pop_to_mark());
        if (items.size() % 2) return wrong("sets a key without a value");
        return extend(std::move(items));
      }
      case 'p': {
        P5_TRY(const auto key, memo_key());
        return set_memo(key);
      }
      case 'g': {
        P5_TRY(const auto key, memo_key());
        return get_memo(key);
      }
      case 'q': {
        P5_TRY(const auto key, fixed(1));
        return set_memo(key);
      }
      case 'h': {
        P5_TRY(const auto key, fixed(1));
        return get_memo(key);
      }
      case 'r': {
        P5_TRY(const auto key, fixed(4));
        return set_memo(key);
      }
      case 'j': {
        P5_TRY(const auto key, fixed(4));
        return get_memo(key);
      }
      case '\x94':
        return set_memo(memo_.size());
      default:
        return object_step(opcode);
    }
  }

  // Opcodes that would import, construct or call.
  Status object_step(char opcode) {
    switch (opcode) {
      case 'c': {
        P5_TRY(const auto module, line());
        P5_TRY(const auto name, line());
        return push_global(module, name);
      }
      case '\x93': {
        P5_TRY(const PickleIndex name, pop());
        P5_TRY(const PickleIndex module, pop());
        if (document_.at(name).kind != PickleKind::string || document_.at(module).kind != PickleKind::string)
          return wrong("names a global by something that is no string");
        return push_global(document_.at(module).text, document_.at(name).text);
      }
      case 'R':
      case '\x81': {
        P5_TRY(const PickleIndex arguments, pop());
        P5_TRY(const PickleIndex callee, pop());
        return push_call(callee, arguments);
      }
      case '\x92': {  // NEWOBJ_EX: class, arguments, keyword arguments
        P5_TRY(const PickleIndex keywords, pop());
        P5_TRY(const PickleIndex arguments, pop());
        P5_TRY(const PickleIndex callee, pop());
        PickleNode node;
        node.kind = PickleKind::call;
        node.items = {callee, arguments};
        node.state = keywords;
        return push(std::move(node));
      }
      case 'i': {
        P5_TRY(const auto module, line());
        P5_TRY(const auto name, line());
        P5_TRY(auto items, pop_to_mark());
        P5_OK(push_global(module, name));
        P5_TRY(const PickleIndex callee, pop());
        P5_OK(push_items(PickleKind::tuple, std::move(items)));
        P5_TRY(const PickleIndex arguments, pop());
        return push_call(callee, arguments);
      }
      case 'o': {
        P5_TRY(auto items, pop_to_mark());
        if (items.empty()) return wrong("constructs an object without a class");
        const PickleIndex callee = items.front();
        items.erase(items.begin());
        P5_OK(push_items(PickleKind::tuple, std::move(items)));
        P5_TRY(const PickleIndex arguments, pop());
        return push_call(callee, arguments);
      }
      case 'b': {
        P5_TRY(const PickleIndex state, pop());
        P5_TRY(const PickleIndex object, top());
        document_.nodes[object].state = state;
        return {};
      }
      case 'P': {
        P5_TRY(const auto id, line());
        P5_OK(push_text(PickleKind::string, id));
        P5_TRY(const PickleIndex node, pop());
        return push_items(PickleKind::persistent, {node});
      }
      case 'Q': {
        P5_TRY(const PickleIndex id, pop());
        return push_items(PickleKind::persistent, {id});
      }
      case '\x82': {
        P5_TRY(const auto code, fixed(1));
        return push_global("copyreg.extension", std::to_string(code));
      }
      case '\x83': {
        P5_TRY(const auto code, fixed(2));
        return push_global("copyreg.extension", std::to_string(code));
      }
      case '\x84': {
        P5_TRY(const auto code, fixed(4));
        return push_global("copyreg.extension", std::to_string(code));
      }
      case '\x97':
        return push_items(PickleKind::persistent, {0});  // NEXT_BUFFER: out of band
      case '\x98':
        return {};  // READONLY_BUFFER
      default: {
        constexpr char digits[] = "0123456789abcdef";
        const auto code = static_cast<unsigned char>(opcode);
        return wrong(std::string("has an unknown opcode 0x") + digits[code >> 4] + digits[code & 15]);
      }
    }
  }

  Status push_real(char opcode) {
    PickleNode node;
    node.kind = PickleKind::real;
    if (opcode == 'G') {
      P5_TRY(const auto text, take(8));
      std::uint64_t bits = 0;
      for (const char c : text) bits = bits << 8 | static_cast<unsigned char>(c);
      node.real = std::bit_cast<double>(bits);
    } else {
      P5_TRY(const auto text, line());
      if (std::from_chars(text.data(), text.data() + text.size(), node.real).ec != std::errc())
        return wrong("holds a number that is none");
    }
    return push(std::move(node));
  }

  template <class T>
  static Status discard(const Result<T>& result) {
    if (!result) return tl::unexpected<Error>(result.error());
    return {};
  }

  std::span<const std::byte> bytes_;
  const std::string& path_;
  PickleLimits limits_;
  PickleDocument document_;
  std::vector<PickleIndex> stack_;
  std::vector<std::size_t> marks_;  // stack heights
  std::unordered_map<std::uint64_t, PickleIndex> memo_;
  std::size_t position_ = 0, opcode_at_ = 0;
};

}  // namespace

const PickleNode* PickleDocument::find(const PickleNode& node, std::string_view key) const {
  // A call that was given items afterwards (OrderedDict) is a dict behind its callee and arguments.
  const std::size_t first = node.kind == PickleKind::call ? 2 : 0;
  if (node.kind != PickleKind::dict && node.kind != PickleKind::call) return nullptr;
  for (std::size_t i = first; i + 1 < node.items.size(); i += 2) {
    const PickleNode& name = at(node.items[i]);
    if (name.kind == PickleKind::string && name.text == key) return &at(node.items[i + 1]);
  }
  return nullptr;
}

Result<PickleDocument> read_pickle(std::span<const std::byte> bytes, const std::string& path,
                                   const PickleLimits& limits) {
  return Interpreter(bytes, path, limits).run();
}

}  // namespace par5
