#include "train/checkpoint.h"

#include <charconv>
#include <cstring>

#include "core/safetensors.h"
#include "core/text.h"
#include "pack/architecture.h"

namespace par5 {
namespace {

constexpr const char* kFormat = "par5 run state 1";

std::span<const std::byte> tensor_bytes(const torch::Tensor& tensor) {
  return {static_cast<const std::byte*>(tensor.const_data_ptr()), tensor.nbytes()};
}

Result<DType> dtype_of(const NamedTensor& entry) {
  if (entry.tensor.scalar_type() == torch::kFloat32) return DType::float32;
  if (entry.tensor.scalar_type() == torch::kUInt8) return DType::uint8;
  return internal_error("the state '" + entry.name + "' has a type that checkpoints do not hold");
}

template <class Number>
Result<Number> number(const SafetensorsFile& file, const std::string& key, const std::string& path) {
  const auto entry = file.metadata().find(key);
  Number value{};
  if (entry != file.metadata().end()) {
    const char* end = entry->second.data() + entry->second.size();
    const auto parsed = std::from_chars(entry->second.data(), end, value);
    if (parsed.ec == std::errc{} && parsed.ptr == end && !(value < 0)) return value;
  }
  return bad_data("'" + path + "' is not a run's state, or is damaged: it lacks a valid '" + key + "'", path,
                  std::nullopt, key);
}

}  // namespace

Status write_model(const std::string& path, const LatentWeights& latent, const LoadedConfig& config) {
  const std::vector<Tensor> tensors = latent.tensors();
  std::vector<TensorView> views;
  for (const Tensor& tensor : tensors) views.push_back(tensor.view());
  return write_safetensors(path, views, checkpoint_metadata(config), Overwrite::yes);
}

Status write_state(const std::string& path, const RunPosition& position,
                   const std::map<std::string, std::string>& identity, const std::vector<NamedTensor>& tensors) {
  std::map<std::string, std::string> metadata = {{"format", kFormat},
                                                 {"step", std::to_string(position.step)},
                                                 {"tokens", std::to_string(position.tokens)},
                                                 {"seconds", shortest(position.seconds)},
                                                 {"loss", shortest(position.loss)},
                                                 {"best_bpb", shortest(position.best_bpb)},
                                                 {"optimizer_steps", std::to_string(position.optimizer_steps)},
                                                 {"loader.epoch", std::to_string(position.loader.epoch)},
                                                 {"loader.window", std::to_string(position.loader.window)}};
  for (const auto& [key, value] : identity) metadata["identity." + key] = value;
  std::vector<torch::Tensor> on_cpu;  // keeps the bytes alive
  std::vector<TensorView> views;
  for (const NamedTensor& entry : tensors) {
    P5_TRY(const DType dtype, dtype_of(entry));
    on_cpu.push_back(entry.tensor.cpu().contiguous());
    views.push_back({entry.name, dtype, entry.tensor.sizes().vec(), tensor_bytes(on_cpu.back())});
  }
  return write_safetensors(path, views, metadata, Overwrite::yes);
}

Result<RunPosition> read_state(const std::string& path, const std::map<std::string, std::string>& identity,
                               const std::vector<NamedTensor>& tensors) {
  P5_TRY(const auto file, SafetensorsFile::open(path));
  if (const auto format = file.metadata().find("format"); format == file.metadata().end() || format->second != kFormat)
    return bad_data("'" + path + "' is not the state of a par5 run", path);
  for (const auto& [key, value] : identity) {
    const auto entry = file.metadata().find("identity." + key);
    const std::string stored = entry == file.metadata().end() ? "nothing" : entry->second;
    if (stored != value)
      return usage_error(
          "the run cannot be resumed with another " + key + ": it was started with " + stored + ", not " + value, key);
  }
  RunPosition position;
  P5_TRY(position.step, number<std::int64_t>(file, "step", path));
  P5_TRY(position.tokens, number<std::int64_t>(file, "tokens", path));
  P5_TRY(position.seconds, number<double>(file, "seconds", path));
  P5_TRY(position.loss, number<double>(file, "loss", path));
  P5_TRY(position.best_bpb, number<double>(file, "best_bpb", path));
  P5_TRY(position.optimizer_steps, number<std::int64_t>(file, "optimizer_steps", path));
  P5_TRY(position.loader.epoch, number<std::int64_t>(file, "loader.epoch", path));
  P5_TRY(position.loader.window, number<std::int64_t>(file, "loader.window", path));
  // Everything is checked before the first tensor changes.
  std::vector<const TensorView*> found;
  for (const NamedTensor& entry : tensors) {
    P5_TRY(const DType dtype, dtype_of(entry));
    const TensorView* view = file.find(entry.name);
    if (!view || view->dtype != dtype || view->shape != Shape(entry.tensor.sizes().vec()))
      return bad_data("'" + path + "' lacks the tensor '" + entry.name + "' in the shape and type that this run has",
                      path, std::nullopt, entry.name);
    found.push_back(view);
  }
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    torch::Tensor bytes = torch::empty(tensors[i].tensor.sizes(), tensors[i].tensor.scalar_type());
    if (!found[i]->data.empty()) std::memcpy(bytes.mutable_data_ptr(), found[i]->data.data(), found[i]->data.size());
    torch::Tensor target = tensors[i].tensor;
    target.copy_(bytes);
  }
  return position;
}

}  // namespace par5
