// What a read pickle says: which of its globals are more than data, and a line for people.
#include <algorithm>
#include <span>

#include "budgets/foreign/pickle.h"

namespace par5 {
namespace {

std::string cut(std::string_view text) {
  constexpr std::size_t kLongest = 60;
  std::string out;
  for (const char c : text.substr(0, kLongest))
    out += static_cast<unsigned char>(c) < 32 || static_cast<unsigned char>(c) > 126 ? '?' : c;
  return text.size() > kLongest ? out + "…" : out;
}

std::string describe_items(const PickleDocument& document, std::span<const PickleIndex> items, int depth, bool pairs) {
  constexpr std::size_t kMost = 12;
  std::string text;
  for (std::size_t i = 0; i < items.size() && i < kMost; ++i) {
    text += i == 0 ? "" : pairs && i % 2 ? ": " : ", ";
    text += describe(document, items[i], depth - 1);
  }
  return items.size() > kMost ? text + ", …" : text;
}

}  // namespace

std::vector<std::string> dangerous_globals(const PickleDocument& document) {
  // What PyTorch's own weights-only loader lets through, and NumPy's array makers.
  static const std::vector<std::string_view> exact = {"collections.OrderedDict",
                                                      "collections.defaultdict",
                                                      "collections.Counter",
                                                      "builtins.dict",
                                                      "builtins.set",
                                                      "builtins.frozenset",
                                                      "builtins.list",
                                                      "builtins.tuple",
                                                      "builtins.complex",
                                                      "builtins.bytearray",
                                                      "builtins.slice",
                                                      "__builtin__.set",
                                                      "__builtin__.bytearray",
                                                      "_codecs.encode",
                                                      "copyreg._reconstructor",
                                                      "argparse.Namespace",
                                                      "types.SimpleNamespace",
                                                      "datetime.datetime",
                                                      "datetime.timedelta",
                                                      "torch.Size",
                                                      "torch.Tensor",
                                                      "torch.device",
                                                      "torch.dtype",
                                                      "torch.nn.parameter.Parameter",
                                                      "torch.nn.parameter.Buffer",
                                                      "numpy.ndarray",
                                                      "numpy.dtype",
                                                      "numpy.core.multiarray._reconstruct",
                                                      "numpy.core.multiarray.scalar",
                                                      "numpy._core.multiarray._reconstruct",
                                                      "numpy._core.multiarray.scalar",
                                                      "numpy.core.numeric._frombuffer",
                                                      "numpy._core.numeric._frombuffer",
                                                      "torch.serialization._get_layout"};
  const auto harmless = [](std::string_view name) {
    if (std::find(exact.begin(), exact.end(), name) != exact.end()) return true;
    const std::string_view module = name.substr(0, name.rfind('.'));
    const std::string_view last = name.substr(name.rfind('.') + 1);
    if (module == "torch._utils" || module == "torch._tensor") return last.starts_with("_rebuild");
    if (module == "torch" || module == "torch.storage")
      return last.ends_with("Storage") || last.starts_with("float") || last.starts_with("bfloat") ||
             last.starts_with("int") || last.starts_with("uint") || last == "bool" || last == "half" ||
             last == "double" || last == "long";
    return false;
  };
  std::vector<std::string> dangerous;
  for (const std::string& name : document.globals)
    if (!harmless(name)) dangerous.push_back(name);
  return dangerous;
}

std::string describe(const PickleDocument& document, PickleIndex index, int depth) {
  const PickleNode& node = document.at(index);
  if (depth < 0) return "…";
  switch (node.kind) {
    case PickleKind::none:
      return "None";
    case PickleKind::boolean:
      return node.integer ? "True" : "False";
    case PickleKind::integer:
      return std::to_string(node.integer);
    case PickleKind::big_integer:
      return "an integer of " + std::to_string(node.text.size()) + " bytes";
    case PickleKind::real:
      return std::to_string(node.real);
    case PickleKind::bytes:
      return std::to_string(node.text.size()) + " bytes";
    case PickleKind::string:
      return "'" + cut(node.text) + "'";
    case PickleKind::list:
      return "[" + describe_items(document, node.items, depth, false) + "]";
    case PickleKind::tuple:
      return "(" + describe_items(document, node.items, depth, false) + ")";
    case PickleKind::set:
      return "{" + describe_items(document, node.items, depth, false) + "}";
    case PickleKind::dict:
      return "{" + describe_items(document, node.items, depth, true) + "}";
    case PickleKind::global:
      return std::string(node.text);
    case PickleKind::call: {
      const std::span<const PickleIndex> items = node.items;
      std::string text = "call " + describe(document, items[0], depth - 1) + describe(document, items[1], depth - 1);
      return items.size() > 2 ? text + " with {" + describe_items(document, items.subspan(2), depth, true) + "}" : text;
    }
    case PickleKind::persistent:
      return "storage " + describe(document, node.items[0], depth - 1);
  }
  return "";
}

}  // namespace par5
