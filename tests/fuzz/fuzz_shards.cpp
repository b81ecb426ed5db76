// A folder of shards: two bytes of length, the manifest, then one shard file "a.bin".
#include "core/file.h"
#include "tests/fuzz/target.h"
#include "tokenizer/shards/shards.h"

namespace par5 {
namespace {

void run(std::span<const std::byte> bytes) {
  static const Result<TemporaryFolder> folder = TemporaryFolder::create();
  fuzz::require(folder.has_value());
  fuzz::Input input(bytes);
  const unsigned low = input.byte(), high = input.byte();
  const auto manifest = input.bytes(low + 256 * high);
  fuzz::require(write_file(join_path(folder->path(), kManifestName), manifest, Overwrite::yes).has_value());
  fuzz::require(write_file(join_path(folder->path(), "a.bin"), input.rest(), Overwrite::yes).has_value());
  const auto reader = ShardReader::open(folder->path());
  if (!reader) return;
  std::vector<std::uint16_t> tokens(static_cast<std::size_t>(reader->tokens()));
  reader->read(0, tokens);
  for (const std::uint16_t token : tokens) fuzz::require(token < reader->manifest().token_bytes.vocab());
}

}  // namespace
}  // namespace par5

PAR5_FUZZ_TARGET(shards) { par5::run(bytes); }
