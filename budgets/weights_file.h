// Any file with weights as a list of tensors that are read one at a time: safetensors (one file, or shards named by an
// index), artifacts, PyTorch's zip files.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/tensor.h"

namespace par5 {

// A tensor and, where it had to be made, the memory behind it. Views into maps give their pages back when it dies.
class HeldTensor {
 public:
  explicit HeldTensor(TensorView view) : view_(std::move(view)), mapped_(true) {}
  explicit HeldTensor(Tensor tensor) : owned_(std::move(tensor)), view_(owned_.view()) {}
  HeldTensor(HeldTensor&& other) noexcept;
  HeldTensor& operator=(HeldTensor&&) = delete;
  ~HeldTensor();
  const TensorView& view() const { return view_; }

 private:
  Tensor owned_;
  TensorView view_;
  bool mapped_ = false;
};

struct WeightsEntry {
  std::string name;
  std::int64_t weights = 0;
  std::string stored;                        // artifacts: "quinary", "fp8", "fp16"; else empty
  std::function<Result<HeldTensor>()> read;  // may be called from several threads
};

struct WeightsFile {
  std::string path;
  std::string format;                 // "safetensors", "sharded safetensors", "par5", "torch"
  std::vector<std::string> files;     // that were opened
  std::vector<WeightsEntry> tensors;  // in file order
  std::vector<std::string> notes;     // what was passed over, and what a pickle would have called
};

// The kind is seen from the contents; a name ending in .json is an index ("weight_map": {tensor: file}), a folder is
// one that holds an index or model.safetensors. Nothing in a file is run.
Result<WeightsFile> open_weights(const std::string& path, std::size_t threads = 0);

}  // namespace par5
