#include "core/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto file = par5::SafetensorsFile::parse({reinterpret_cast<const std::byte*>(data), size}, "fuzz");
  if (file)
    for (const par5::TensorView& tensor : file->tensors()) (void)par5::to_floats(tensor);
  return 0;
}
