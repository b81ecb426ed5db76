#include "core/safetensors.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>

namespace par5 {
namespace {

using Json = nlohmann::ordered_json;
constexpr std::uint64_t kMaxHeader = 100'000'000;
constexpr std::int64_t kMaxElements = std::int64_t{1} << 40;

// nlohmann keeps the last of two equal keys silently; a hostile header may not use that to hide a tensor.
class DuplicateKeys {
 public:
  bool operator()(int depth, Json::parse_event_t event, const Json& parsed) {
    if (event == Json::parse_event_t::object_start) {
      if (depth > 4) too_deep_ = true;
      keys_.resize(static_cast<std::size_t>(depth) + 1);
      keys_.back().clear();
    } else if (event == Json::parse_event_t::array_start && depth > 4) {
      too_deep_ = true;
    } else if (event == Json::parse_event_t::key && depth >= 1 && static_cast<std::size_t>(depth) <= keys_.size()) {
      if (!keys_[static_cast<std::size_t>(depth) - 1].insert(parsed.get<std::string>()).second)
        duplicate_ = parsed.get<std::string>();
    }
    return true;
  }
  const std::string& duplicate() const { return duplicate_; }
  bool too_deep() const { return too_deep_; }

 private:
  std::vector<std::set<std::string>> keys_;
  std::string duplicate_;
  bool too_deep_ = false;
};

bool is_count(const Json& value) { return value.is_number_unsigned(); }

Result<TensorView> parse_tensor(const std::string& name, const Json& entry, std::span<const std::byte> data,
                                const std::string& path) {
  const auto bad = [&](const std::string& what) {
    return bad_data("tensor '" + name + "' in '" + path + "' " + what, path, std::nullopt, name);
  };
  if (!entry.is_object() || !entry.contains("dtype") || !entry.contains("shape") || !entry.contains("data_offsets") ||
      entry.size() != 3)
    return bad("does not have exactly dtype, shape and data_offsets");
  const Json &dtype = entry["dtype"], &shape = entry["shape"], &offsets = entry["data_offsets"];
  if (!dtype.is_string()) return bad("has a dtype that is not a string");
  TensorView view;
  view.name = name;
  const auto known = dtype_from_name(dtype.get<std::string>());
  if (!known) return bad("has the unsupported element type '" + dtype.get<std::string>() + "'");
  view.dtype = *known;
  if (!shape.is_array() || shape.size() > 16) return bad("has a shape that is not a short array");
  std::int64_t count = 1;
  for (const Json& extent : shape) {
    if (!is_count(extent) || extent.get<std::uint64_t>() > static_cast<std::uint64_t>(kMaxElements))
      return bad("has an impossible shape");
    view.shape.push_back(extent.get<std::int64_t>());
    if (view.shape.back() != 0 && count > kMaxElements / view.shape.back()) return bad("has an impossible shape");
    count *= view.shape.back();
  }
  if (!offsets.is_array() || offsets.size() != 2 || !is_count(offsets[0]) || !is_count(offsets[1]))
    return bad("has data_offsets that are not two counts");
  const auto begin = offsets[0].get<std::uint64_t>(), end = offsets[1].get<std::uint64_t>();
  if (begin > end || end > data.size())
    return bad("claims bytes " + std::to_string(begin) + " to " + std::to_string(end) + " of " +
               std::to_string(data.size()) + " that are there (the file is truncated or damaged)");
  if (end - begin != static_cast<std::uint64_t>(count) * bytes_per_element(view.dtype))
    return bad("has " + std::to_string(end - begin) + " bytes, which its shape " + to_string(view.shape) +
               " does not need");
  view.data = data.subspan(begin, end - begin);
  return view;
}

}  // namespace

Result<SafetensorsFile> SafetensorsFile::open(const std::string& path) {
  P5_TRY(auto map, MappedFile::open(path));
  auto shared = std::make_shared<MappedFile>(std::move(map));
  P5_TRY(auto file, parse(shared->bytes(), path));
  file.map_ = std::move(shared);
  return file;
}

Result<SafetensorsFile> SafetensorsFile::parse(std::span<const std::byte> bytes, const std::string& path) {
  if (bytes.size() < 8) return bad_data("'" + path + "' is too short to be a safetensors file", path, 0);
  std::uint64_t header_size = 0;
  for (int i = 7; i >= 0; --i)
    header_size = (header_size << 8) | std::to_integer<std::uint64_t>(bytes[static_cast<std::size_t>(i)]);
  if (header_size > kMaxHeader || header_size > bytes.size() - 8)
    return bad_data("'" + path + "' is not a safetensors file or is truncated: its header claims " +
                        std::to_string(header_size) + " bytes",
                    path, 0);
  const std::string_view header(reinterpret_cast<const char*>(bytes.data()) + 8, header_size);
  if (header.empty() || header.front() != '{') return bad_data("'" + path + "' is not a safetensors file", path, 8);
  DuplicateKeys keys;
  const Json root = Json::parse(header, std::ref(keys), false);
  if (root.is_discarded() || !root.is_object())
    return bad_data("the header of '" + path + "' is not valid JSON", path, 8);
  if (keys.too_deep()) return bad_data("the header of '" + path + "' is nested too deeply", path, 8);
  if (!keys.duplicate().empty())
    return bad_data("the header of '" + path + "' names '" + keys.duplicate() + "' twice", path, 8, keys.duplicate());

  SafetensorsFile file;
  const auto data = bytes.subspan(8 + header_size);
  for (const auto& [name, entry] : root.items()) {
    if (name == "__metadata__") {
      if (!entry.is_object()) return bad_data("__metadata__ of '" + path + "' is not an object", path, 8);
      for (const auto& [key, value] : entry.items()) {
        if (!value.is_string())
          return bad_data("__metadata__ of '" + path + "' holds a value that is not a string", path, 8, key);
        file.metadata_[key] = value.get<std::string>();
      }
      continue;
    }
    P5_TRY(auto view, parse_tensor(name, entry, data, path));
    file.tensors_.push_back(std::move(view));
  }
  std::stable_sort(file.tensors_.begin(), file.tensors_.end(), [](const TensorView& a, const TensorView& b) {
    return a.data.data() != b.data.data() ? a.data.data() < b.data.data() : a.data.size() < b.data.size();
  });
  const std::byte* expected = data.data();
  for (const TensorView& view : file.tensors_) {
    if (view.data.data() != expected)
      return bad_data("the tensors of '" + path + "' overlap or leave a hole before '" + view.name + "'", path,
                      8 + header_size + static_cast<std::uint64_t>(view.data.data() - data.data()), view.name);
    expected += view.data.size();
  }
  if (expected != data.data() + data.size())
    return bad_data("'" + path + "' has bytes after its last tensor", path,
                    8 + header_size + static_cast<std::uint64_t>(expected - data.data()));
  return file;
}

const TensorView* SafetensorsFile::find(std::string_view name) const {
  for (const TensorView& tensor : tensors_)
    if (tensor.name == name) return &tensor;
  return nullptr;
}

Status write_safetensors(const std::string& path, const std::vector<TensorView>& tensors,
                         const std::map<std::string, std::string>& metadata, Overwrite overwrite) {
  Json root = Json::object();
  if (!metadata.empty()) root["__metadata__"] = metadata;
  std::uint64_t offset = 0;
  for (const TensorView& tensor : tensors) {
    root[tensor.name] = {{"dtype", dtype_name(tensor.dtype)},
                         {"shape", tensor.shape},
                         {"data_offsets", {offset, offset + tensor.data.size()}}};
    offset += tensor.data.size();
  }
  std::string header = root.dump(-1, ' ', false, Json::error_handler_t::replace);
  header.append((8 - header.size() % 8) % 8, ' ');
  std::string length(8, '\0');
  for (std::size_t i = 0; i < 8; ++i) length[i] = static_cast<char>(header.size() >> (8 * i));

  P5_TRY(auto file, AtomicFile::create(path, overwrite));
  P5_OK(file.write(length));
  P5_OK(file.write(header));
  for (const TensorView& tensor : tensors) P5_OK(file.write(tensor.data));
  return file.commit();
}

}  // namespace par5
