#include "core/safetensors.h"
#include "tests/fuzz/target.h"

PAR5_FUZZ_TARGET(safetensors) {
  const auto file = par5::SafetensorsFile::parse(bytes, "fuzz");
  if (file)
    for (const par5::TensorView& tensor : file->tensors()) (void)par5::to_floats(tensor);
}
