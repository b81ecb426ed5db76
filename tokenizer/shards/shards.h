// Token shards in the 20240520 format, with a manifest beside them. No SentencePiece here, so that the LibTorch
// program can read shards.
//
// A shard: 256 little-endian int32 (magic 20240520, version 1, token count, zeros), then count uint16 token ids.
// Each document = BOS + tokens; a document may go on in the next file. The manifest (manifest.json) names the files and
// carries counts, the tokenizer's hash, the charged-bytes table and one hash per document.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/file.h"
#include "tokenizer/shards/token_bytes.h"

namespace par5 {

inline constexpr std::int32_t kShardMagic = 20240520;
inline constexpr std::int32_t kShardVersion = 1;
inline constexpr std::size_t kShardHeaderBytes = 1024;
inline constexpr const char* kManifestName = "manifest.json";

struct ShardDocument {
  std::string sha256;        // of the source text
  std::uint64_t tokens = 0;  // with BOS
  std::uint64_t bytes = 0;   // charged
  std::uint64_t source_bytes = 0;
  bool operator==(const ShardDocument&) const = default;
};

struct ShardManifest {
  std::vector<std::string> files;  // names in the folder, in reading order
  std::vector<std::uint64_t> file_tokens;
  std::uint64_t tokens = 0;
  std::uint64_t documents = 0;
  std::uint64_t bytes = 0;  // charged, over all documents
  std::uint64_t source_bytes = 0;
  std::string content_sha256;    // of all token ids, as they lie in the files
  std::string tokenizer_sha256;  // as tokenizer_sha256() defines it
  std::uint16_t bos = 1;
  std::optional<std::uint64_t> shuffle_seed;
  TokenBytes token_bytes;
  std::vector<ShardDocument> document_list;
};

// Reads and checks the manifest of a shard folder: sums, table sizes, plain file names. A folder without a manifest is
// an io error; a damaged or inconsistent one is bad_data.
Result<ShardManifest> read_manifest(const std::string& folder);
std::string manifest_json(const ShardManifest& manifest);

// A folder of shards, read as one stream of tokens. Files are mapped, not loaded. Opening checks every header (magic,
// version, count against the size), that every token id is below the manifest's vocabulary, and that the tokens give
// the manifest's numbers of documents and charged bytes; bad_data errors name file and offset.
class ShardReader {
 public:
  static Result<ShardReader> open(const std::string& folder);

  const ShardManifest& manifest() const { return manifest_; }
  std::uint64_t tokens() const { return manifest_.tokens; }
  // Copies tokens [position, position + out.size()); the range must lie inside the stream.
  void read(std::uint64_t position, std::span<std::uint16_t> out) const;
  // SHA-256 over all shard files' tokens, as lower-case hexadecimal: what a run records as its data. Reads everything.
  std::string content_sha256() const;

 private:
  ShardManifest manifest_;
  std::vector<MappedFile> files_;
  std::vector<std::uint64_t> starts_;  // stream position of each file's first token
};

}  // namespace par5
