#include "core/config.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  par5::LoadedConfig config;
  if (config.apply_toml({reinterpret_cast<const char*>(data), size}, "fuzz")) (void)config.check();
  return 0;
}
