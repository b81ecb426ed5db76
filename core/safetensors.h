// safetensors: u64 header length, JSON header, tensor bytes. The reader trusts nothing: lengths, names, shapes and
// ranges are checked against the file, and tensors must tile the data exactly.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/file.h"
#include "core/tensor.h"

namespace par5 {

// An open safetensors file: views into a read-only map, in file order.
class SafetensorsFile {
 public:
  static Result<SafetensorsFile> open(const std::string& path);
  // The same over bytes in memory, which must outlive the object. `path` only names them in errors.
  static Result<SafetensorsFile> parse(std::span<const std::byte> bytes, const std::string& path);

  const std::vector<TensorView>& tensors() const { return tensors_; }
  const TensorView* find(std::string_view name) const;
  // The "__metadata__" object; empty where there is none.
  const std::map<std::string, std::string>& metadata() const { return metadata_; }

 private:
  std::shared_ptr<MappedFile> map_;
  std::vector<TensorView> tensors_;
  std::map<std::string, std::string> metadata_;
};

// Writes tensors in the given order, data aligned to 8 bytes; the same input gives the same bytes.
Status write_safetensors(const std::string& path, const std::vector<TensorView>& tensors,
                         const std::map<std::string, std::string>& metadata, Overwrite overwrite);

}  // namespace par5
