// Writes a folder of shards that appears complete or not at all.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/file.h"
#include "core/hash.h"
#include "tokenizer/shards/shards.h"

namespace par5 {

// Files are written into a new folder beside the target ("NAME.part.XXXXXX"), the manifest last; `finish` renames that
// folder to the target. Without `finish` the destructor removes it. At most one shard's tokens are held in memory.
class ShardWriter {
 public:
  struct Options {
    std::uint64_t shard_tokens = 100000000;  // tokens in one file, 1 … 2^31 - 1
    Overwrite overwrite = Overwrite::no;
    std::uint16_t bos = 1;
    std::optional<std::uint64_t> shuffle_seed;  // recorded only: the caller adds documents in their final order
    TokenBytes token_bytes;
    std::string tokenizer_sha256;
  };

  // A target that exists and is not an empty folder is a usage error, unless overwriting is asked for and the folder
  // holds nothing but shards.
  static Result<ShardWriter> create(const std::string& folder, Options options);
  ShardWriter(ShardWriter&&) noexcept = default;
  ShardWriter& operator=(ShardWriter&&) = delete;
  ~ShardWriter();

  // One document: BOS first, every id below the vocabulary. Charged bytes and token count are computed here;
  // `sha256` and `source_bytes` are the caller's.
  Status add(std::span<const std::uint16_t> tokens, std::string sha256, std::uint64_t source_bytes);
  Result<ShardManifest> finish();

 private:
  ShardWriter() = default;
  Status flush();

  std::string target_;
  std::string work_;  // the ".part" folder; empty once it is gone
  Options options_;
  ShardManifest manifest_;
  std::vector<std::uint16_t> pending_;
  std::unique_ptr<Sha256> content_;
};

}  // namespace par5
