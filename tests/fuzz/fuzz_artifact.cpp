#include "archive/artifact.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  (void)par5::decode_artifact({reinterpret_cast<const std::byte*>(data), size}, "fuzz", 1);
  return 0;
}
