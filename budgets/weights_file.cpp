#include "budgets/weights_file.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <utility>

#include "archive/artifact.h"
#include "budgets/foreign/torch_file.h"
#include "core/file.h"
#include "core/safetensors.h"
#include "core/tensor_pieces.h"

namespace par5 {
namespace {

constexpr std::string_view kIndexSuffix = ".safetensors.index.json";

void add_tensors(const std::shared_ptr<SafetensorsFile>& file, WeightsFile& weights) {
  for (const TensorView& tensor : file->tensors())
    weights.tensors.push_back({tensor.name, element_count(tensor.shape), {}, [file, &tensor]() -> Result<HeldTensor> {
                                 return HeldTensor(tensor);
                               }});
}

Result<WeightsFile> open_safetensors(const std::string& path) {
  P5_TRY(auto file, SafetensorsFile::open(path));
  WeightsFile weights{path, "safetensors", {path}, {}, {}};
  add_tensors(std::make_shared<SafetensorsFile>(std::move(file)), weights);
  return weights;
}

// Shards in the order of their names; what the index and the files say must agree.
Result<WeightsFile> open_index(const std::string& path) {
  P5_TRY(const std::string text, read_text_file(path, 1u << 28));
  const auto root = nlohmann::json::parse(text, nullptr, false);
  if (!root.is_object() || !root.contains("weight_map") || !root["weight_map"].is_object())
    return bad_data("'" + path + "' is not an index of safetensors files (no object \"weight_map\")", path,
                    std::nullopt, "weight_map");
  std::map<std::string, std::vector<std::string>> shards;
  for (const auto& [name, file] : root["weight_map"].items()) {
    // A shard lies beside its index, whoever wrote it.
    if (!file.is_string() || file.get<std::string>().empty() || file.get<std::string>().find('/') != std::string::npos)
      return bad_data("the index '" + path + "' gives tensor '" + name + "' no file beside it", path, std::nullopt,
                      name);
    shards[file.get<std::string>()].push_back(name);
  }
  WeightsFile weights{path, "sharded safetensors", {}, {}, {}};
  for (const auto& [name, tensors] : shards) {
    const std::string shard = join_path(parent_folder(path), name);
    P5_TRY(auto file, SafetensorsFile::open(shard));
    for (const std::string& tensor : tensors)
      if (!file.find(tensor))
        return bad_data(
            "the index '" + path + "' places tensor '" + tensor + "' in '" + shard + "', which does not hold it", path,
            std::nullopt, tensor);
    for (const TensorView& tensor : file.tensors())
      if (std::find(tensors.begin(), tensors.end(), tensor.name) == tensors.end())
        weights.notes.push_back("'" + tensor.name + "' in '" + shard + "' is not in the index");
    weights.files.push_back(shard);
    add_tensors(std::make_shared<SafetensorsFile>(std::move(file)), weights);
  }
  return weights;
}

std::string stored_name(const StoredTensor& tensor, Grid grid) {
  switch (tensor.spec.storage) {
    case Storage::quantized:
      return std::string(grid_name(grid));
    case Storage::fp8:
      return "fp8";
    case Storage::fp16:
      return "fp16";
  }
  return {};
}

Result<WeightsFile> open_artifact(const std::string& path, std::size_t threads) {
  P5_TRY(auto decoded, read_artifact(path, threads));
  const auto model = std::make_shared<StoredModel>(std::move(decoded.artifact.model));
  WeightsFile weights{path, "par5", {path}, {}, {}};
  for (const StoredTensor& tensor : model->tensors)
    weights.tensors.push_back({tensor.spec.name, element_count(tensor.spec.shape),
                               stored_name(tensor, model->quantizer.grid), [model, &tensor]() -> Result<HeldTensor> {
                                 return HeldTensor(
                                     Tensor::from_floats(tensor.spec.name, tensor.spec.shape, tensor.values()));
                               }});
  return weights;
}

Result<WeightsFile> open_torch(const std::string& path) {
  struct Opened {
    MappedFile map;
    TorchFile file;
  };
  P5_TRY(auto map, MappedFile::open(path));
  P5_TRY(auto file, read_torch_file(map.bytes(), path));
  const auto opened = std::make_shared<Opened>(Opened{std::move(map), std::move(file)});
  WeightsFile weights{path, "torch", {path}, {}, {}};
  for (const TorchTensor& tensor : opened->file.tensors)
    weights.tensors.push_back({tensor.name, element_count(tensor.shape), {}, [opened, &tensor]() -> Result<HeldTensor> {
                                 if (tensor.is_contiguous()) {
                                   P5_TRY(auto view, tensor.view());
                                   return HeldTensor(std::move(view));
                                 }
                                 P5_TRY(auto copy, tensor.copy());
                                 return HeldTensor(std::move(copy));
                               }});
  for (const std::string& skipped : opened->file.skipped) weights.notes.push_back("passed over: " + skipped);
  for (const std::string& global : opened->file.dangerous)
    weights.notes.push_back("the pickle would reach " + global + " if it were loaded by Python; it was read, not run");
  return weights;
}

Result<std::string> file_in_folder(const std::string& folder) {
  P5_TRY(const auto names, list_folder(folder));
  std::string found;
  for (const std::string& name : names)
    if (name.ends_with(kIndexSuffix) || (name == "model.safetensors" && found.empty())) found = name;
  if (found.empty())
    return usage_error("the folder '" + folder +
                       "' holds neither model.safetensors nor an index of its shards; name a file");
  return join_path(folder, found);
}

}  // namespace

HeldTensor::HeldTensor(HeldTensor&& other) noexcept
    : owned_(std::move(other.owned_)), view_(std::move(other.view_)), mapped_(std::exchange(other.mapped_, false)) {}

HeldTensor::~HeldTensor() {
  if (mapped_) release_pages(view_.data);
}

Result<WeightsFile> open_weights(const std::string& path, std::size_t threads) {
  if (is_folder(path)) {
    P5_TRY(const std::string file, file_in_folder(path));
    return open_weights(file, threads);
  }
  if (path.ends_with(".json")) return open_index(path);
  std::array<std::byte, 4> start{};
  {
    P5_TRY(const auto map, MappedFile::open(path));
    if (map.bytes().size() >= start.size()) std::memcpy(start.data(), map.bytes().data(), start.size());
    if (looks_like_zip(map.bytes())) return open_torch(path);
  }
  if (std::memcmp(start.data(), "par5", 4) == 0) return open_artifact(path, threads);
  if (start[0] == std::byte{0x80} && std::to_integer<int>(start[1]) <= 5)
    return bad_data(
        "'" + path +
            "' is a bare pickle (PyTorch's format before 1.6); save it again with a newer PyTorch, or as safetensors",
        path, 0);
  return open_safetensors(path);
}

}  // namespace par5
