#include "core/config.h"
#include "tests/fuzz/target.h"

PAR5_FUZZ_TARGET(config) {
  par5::LoadedConfig config;
  if (config.apply_toml({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, "fuzz")) (void)config.check();
}
