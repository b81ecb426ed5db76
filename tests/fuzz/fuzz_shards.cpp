// A folder of shards: two bytes of length, the manifest, then one shard file "a.bin".
#include <fstream>

#include "core/file.h"
#include "tests/fuzz/target.h"
#include "tokenizer/shards/shards.h"

namespace par5 {
namespace {

// Not write_file, which waits for the disk: that would be most of what a run takes.
void put(const std::string& path, std::span<const std::byte> bytes) {
  std::ofstream out(path, std::ios::binary);
  out.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  fuzz::require(out.good());
}

void run(std::span<const std::byte> bytes) {
  static const Result<TemporaryFolder> folder = TemporaryFolder::create();
  fuzz::require(folder.has_value());
  fuzz::Input input(bytes);
  const unsigned low = input.byte(), high = input.byte();
  const auto manifest = input.bytes(low + 256 * high);
  put(join_path(folder->path(), kManifestName), manifest);
  put(join_path(folder->path(), "a.bin"), input.rest());
  const auto reader = ShardReader::open(folder->path());
  if (!reader) return;
  std::vector<std::uint16_t> tokens(static_cast<std::size_t>(reader->tokens()));
  reader->read(0, tokens);
  for (const std::uint16_t token : tokens) fuzz::require(token < reader->manifest().token_bytes.vocab());
}

}  // namespace
}  // namespace par5

PAR5_FUZZ_TARGET(shards) { par5::run(bytes); }
