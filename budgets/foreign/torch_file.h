// PyTorch's zip files (.pt, .pth, .bin, checkpoints inside published archives): the pickle is read by an interpreter
// that runs nothing, the tensors are views of the stored entries.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "budgets/foreign/pickle.h"
#include "budgets/foreign/zip.h"
#include "core/error.h"
#include "core/tensor.h"

namespace par5 {

// One tensor of the file. `storage` holds the whole storage that it looks into; offset and strides count elements.
struct TorchTensor {
  std::string name;  // keys joined by dots: "model.blocks.0.attn.c_qkv.weight"; list positions as numbers
  DType dtype = DType::float32;
  Shape shape;
  std::vector<std::int64_t> strides;
  std::int64_t offset = 0;
  std::span<const std::byte> storage;

  bool is_contiguous() const;
  // Row-major without copying; bad_data where the strides do not allow it.
  Result<TensorView> view() const;
  // Row-major, copied if need be. At most element_count(shape) elements are written, which was checked against the
  // storage.
  Result<Tensor> copy() const;
};

struct TorchFile {
  PickleDocument document;             // of data.pkl
  std::vector<TorchTensor> tensors;    // every tensor reachable from the root, in the pickle's order
  std::vector<std::string> dangerous;  // globals beyond data: listed, never run
  std::vector<std::string> skipped;    // "name: reason": quantised, sparse, complex or out-of-range tensors

  // The tensor that a node stands for, if it is one (not named).
  std::optional<TorchTensor> tensor_at(PickleIndex node) const;

  ZipFile zip;
  std::string prefix;  // of the entries: "archive"
};

// `bytes` must outlive the result. A file that is no zip file, has no data.pkl or a tensor outside its storage is
// bad_data; the old, pre-1.6 format without a zip file is named as such.
Result<TorchFile> read_torch_file(std::span<const std::byte> bytes, const std::string& path);

}  // namespace par5
