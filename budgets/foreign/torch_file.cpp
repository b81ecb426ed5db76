#include "budgets/foreign/torch_file.h"

#include <algorithm>
#include <cstring>

namespace par5 {
namespace {

std::optional<DType> storage_dtype(std::string_view global) {
  static const std::vector<std::pair<std::string_view, DType>> names = {{"torch.DoubleStorage", DType::float64},
                                                                        {"torch.FloatStorage", DType::float32},
                                                                        {"torch.HalfStorage", DType::float16},
                                                                        {"torch.BFloat16Storage", DType::bfloat16},
                                                                        {"torch.LongStorage", DType::int64},
                                                                        {"torch.IntStorage", DType::int32},
                                                                        {"torch.ShortStorage", DType::int16},
                                                                        {"torch.CharStorage", DType::int8},
                                                                        {"torch.ByteStorage", DType::uint8},
                                                                        {"torch.BoolStorage", DType::boolean},
                                                                        {"torch.float64", DType::float64},
                                                                        {"torch.float32", DType::float32},
                                                                        {"torch.float16", DType::float16},
                                                                        {"torch.bfloat16", DType::bfloat16},
                                                                        {"torch.float8_e4m3fn", DType::float8_e4m3},
                                                                        {"torch.int64", DType::int64},
                                                                        {"torch.int32", DType::int32},
                                                                        {"torch.int16", DType::int16},
                                                                        {"torch.int8", DType::int8},
                                                                        {"torch.uint8", DType::uint8},
                                                                        {"torch.bool", DType::boolean}};
  for (const auto& [name, dtype] : names)
    if (name == global) return dtype;
  return std::nullopt;
}

// A tuple of integers as a vector; nothing where it is anything else.
std::optional<std::vector<std::int64_t>> integers(const PickleDocument& document, PickleIndex index) {
  const PickleNode& node = document.at(index);
  // torch.Size(( … )) is a call with a tuple of a tuple.
  if (node.kind == PickleKind::call && document.at(node.items[1]).items.size() == 1)
    return integers(document, document.at(node.items[1]).items[0]);
  if (node.kind != PickleKind::tuple && node.kind != PickleKind::list) return std::nullopt;
  if (node.items.size() > 16) return std::nullopt;
  std::vector<std::int64_t> values;
  for (const PickleIndex item : node.items) {
    if (document.at(item).kind != PickleKind::integer) return std::nullopt;
    values.push_back(document.at(item).integer);
  }
  return values;
}

class Reader {
 public:
  explicit Reader(const TorchFile& file) : file_(file), document_(file.document) {}

  // The tensor that a call node rebuilds; `reason` says why there is none although it is a tensor.
  std::optional<TorchTensor> tensor(PickleIndex index, std::string& reason) const {
    const PickleNode& node = document_.at(index);
    if (node.kind != PickleKind::call) return std::nullopt;
    const PickleNode& callee = document_.at(node.items[0]);
    const PickleNode& arguments = document_.at(node.items[1]);
    if (callee.kind != PickleKind::global || arguments.kind != PickleKind::tuple) return std::nullopt;
    const std::vector<PickleIndex>& items = arguments.items;
    if (callee.text == "torch._utils._rebuild_parameter" || callee.text == "torch._utils._rebuild_parameter_with_state")
      return items.empty() || items[0] >= index ? std::nullopt : tensor(items[0], reason);
    if (callee.text == "torch._tensor._rebuild_from_type_v2")  // (function, type, arguments, state)
      return items.size() < 3 ? std::nullopt : rebuilt(document_.at(items[0]).text, document_.at(items[2]), reason);
    return rebuilt(callee.text, arguments, reason);
  }

 private:
  std::optional<TorchTensor> rebuilt(std::string_view function, const PickleNode& arguments,
                                     std::string& reason) const {
    if (!function.starts_with("torch._utils._rebuild")) return std::nullopt;
    const bool v2 = function == "torch._utils._rebuild_tensor_v2" || function == "torch._utils._rebuild_tensor";
    const bool v3 = function == "torch._utils._rebuild_tensor_v3";  // ends in the element type, over untyped bytes
    if (!v2 && !v3) {
      reason = "made by " + std::string(function) + ", which is not read";
      return std::nullopt;
    }
    const std::vector<PickleIndex>& items = arguments.items;
    if (items.size() < (v3 ? 7u : 4u) || document_.at(items[0]).kind != PickleKind::persistent ||
        document_.at(items[1]).kind != PickleKind::integer) {
      reason = "its description is incomplete";
      return std::nullopt;
    }
    TorchTensor made;
    const auto shape = integers(document_, items[2]), strides = integers(document_, items[3]);
    const PickleNode& id = document_.at(document_.at(items[0]).items[0]);  // ('storage', type, key, device, elements)
    if (!shape || !strides || shape->size() != strides->size() || id.kind != PickleKind::tuple || id.items.size() < 5) {
      reason = "its shape or storage is not given as PyTorch gives it";
      return std::nullopt;
    }
    const auto dtype = storage_dtype(document_.at(v3 ? items[6] : id.items[1]).text);
    if (!dtype) {
      reason = "its type " + std::string(document_.at(v3 ? items[6] : id.items[1]).text) + " is not known";
      return std::nullopt;
    }
    const ZipEntry* entry = file_.zip.find(file_.prefix + "/data/" + std::string(document_.at(id.items[2]).text));
    const auto storage = entry ? file_.zip.view(*entry) : Result<std::span<const std::byte>>(bad_data("missing"));
    made.dtype = *dtype;
    made.shape = *shape;
    made.strides = *strides;
    made.offset = document_.at(items[1]).integer;
    if (!storage || !inside(made, storage->size())) {
      reason = "its storage is missing or too small";
      return std::nullopt;
    }
    made.storage = *storage;
    return made;
  }

  // Does every element lie in the storage, and is the number of elements one that the storage could hold?
  static bool inside(const TorchTensor& tensor, std::size_t storage_bytes) {
    const auto room = static_cast<std::int64_t>(storage_bytes / bytes_per_element(tensor.dtype));
    if (tensor.offset < 0 || tensor.offset > room) return false;
    std::int64_t last = tensor.offset, count = 1;
    bool empty = false;
    for (std::size_t i = 0; i < tensor.shape.size(); ++i) {
      const std::int64_t extent = tensor.shape[i], stride = tensor.strides[i];
      if (extent < 0 || stride < 0) return false;
      if (extent == 0) empty = true;
      if (extent <= 1) continue;
      if (stride > room / (extent - 1)) return false;
      last += stride * (extent - 1);
      if (last >= room || count > room / extent)
        return false;  // broadcast tensors (stride 0) larger than their storage too
      count *= extent;
    }
    return empty || last < room;
  }

  const TorchFile& file_;
  const PickleDocument& document_;
};

// Walks dicts, lists and tuples from the root and names every tensor by its path.
void collect(TorchFile& file, PickleIndex index, const std::string& name, int depth, std::uint64_t& steps) {
  constexpr std::uint64_t kMostSteps = 10'000'000;
  if (depth > 32 || ++steps > kMostSteps) return;
  std::string reason;
  if (auto tensor = Reader(file).tensor(index, reason)) {
    tensor->name = name;
    file.tensors.push_back(std::move(*tensor));
    return;
  }
  if (!reason.empty()) {
    file.skipped.push_back(name + ": " + reason);
    return;
  }
  const PickleNode& node = file.document.at(index);
  const std::string prefix = name.empty() ? "" : name + ".";
  if (node.kind == PickleKind::dict || node.kind == PickleKind::call) {
    for (std::size_t i = node.kind == PickleKind::call ? 2 : 0; i + 1 < node.items.size(); i += 2) {
      const PickleNode& key = file.document.at(node.items[i]);
      const std::string part =
          key.kind == PickleKind::string ? std::string(key.text) : describe(file.document, node.items[i], 1);
      collect(file, node.items[i + 1], prefix + part, depth + 1, steps);
    }
  } else if (node.kind == PickleKind::list || node.kind == PickleKind::tuple) {
    for (std::size_t i = 0; i < node.items.size(); ++i)
      collect(file, node.items[i], prefix + std::to_string(i), depth + 1, steps);
  }
}

}  // namespace

bool TorchTensor::is_contiguous() const {
  std::int64_t expected = 1;
  for (std::size_t i = shape.size(); i-- > 0;) {
    if (shape[i] != 1 && strides[i] != expected) return false;
    expected *= shape[i];
  }
  return true;
}

Result<TensorView> TorchTensor::view() const {
  if (!is_contiguous()) return bad_data("the tensor '" + name + "' is not stored row by row");
  const std::size_t width = bytes_per_element(dtype);
  return TensorView{name, dtype, shape,
                    storage.subspan(static_cast<std::size_t>(offset) * width,
                                    static_cast<std::size_t>(element_count(shape)) * width)};
}

Result<Tensor> TorchTensor::copy() const {
  const std::size_t width = bytes_per_element(dtype);
  const std::int64_t count = element_count(shape);
  Tensor out{name, dtype, shape, std::vector<std::byte>(static_cast<std::size_t>(count) * width)};
  std::vector<std::int64_t> index(shape.size(), 0);
  std::int64_t position = offset;
  for (std::int64_t i = 0; i < count; ++i) {
    std::memcpy(out.data.data() + static_cast<std::size_t>(i) * width,
                storage.data() + static_cast<std::size_t>(position) * width, width);
    for (std::size_t axis = shape.size(); axis-- > 0;) {
      position += strides[axis];
      if (++index[axis] < shape[axis]) break;
      position -= strides[axis] * shape[axis];
      index[axis] = 0;
    }
  }
  return out;
}

std::optional<TorchTensor> TorchFile::tensor_at(PickleIndex node) const {
  std::string reason;
  return Reader(*this).tensor(node, reason);
}

Result<TorchFile> read_torch_file(std::span<const std::byte> bytes, const std::string& path) {
  if (!looks_like_zip(bytes)) {
    const bool pickled = !bytes.empty() && bytes[0] == std::byte{0x80};
    return bad_data("'" + path + "' is no zip file" +
                        (pickled ? ": it is in PyTorch's format from before version 1.6, or a bare pickle" : ""),
                    path, 0);
  }
  TorchFile file;
  P5_TRY(file.zip, read_zip(bytes, path));
  const auto pickle = std::find_if(file.zip.entries.begin(), file.zip.entries.end(),
                                   [](const ZipEntry& entry) { return entry.name.ends_with("/data.pkl"); });
  if (pickle == file.zip.entries.end())
    return bad_data("'" + path + "' is a zip file without a data.pkl: no file of PyTorch's", path);
  file.prefix = pickle->name.substr(0, pickle->name.size() - std::string_view("/data.pkl").size());
  if (const ZipEntry* order = file.zip.find(file.prefix + "/byteorder")) {
    P5_TRY(const std::string text, file.zip.read(*order, 64));
    if (text != "little")
      return bad_data("'" + path + "' holds big-endian tensors, which are not read", path, order->data_offset);
  }
  P5_TRY(const auto code, file.zip.view(*pickle));
  auto document = read_pickle(code, path);
  if (!document) {
    Error error = document.error();
    if (error.offset) *error.offset += pickle->data_offset;
    return tl::unexpected(std::move(error));
  }
  file.document = std::move(*document);
  file.dangerous = dangerous_globals(file.document);
  std::uint64_t steps = 0;
  collect(file, file.document.root, "", 0, steps);
  return file;
}

}  // namespace par5
