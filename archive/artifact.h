// The artifact (*.par5): a stored model, its tokenizer and its facts in one file; docs/format.md is the specification.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/tokenizer_data.h"
#include "pack/stored_model.h"

namespace par5 {

// One self-test window: tokens and the bits that the exact definition gives for tokens 1 … n-1, in millibits.
struct SelfTestWindow {
  std::vector<std::uint16_t> tokens;
  std::uint64_t expected_millibits = 0;
};

struct Artifact {
  StoredModel model;
  std::optional<TokenizerData> tokenizer;
  std::string tokenizer_sha256;   // also where the tokenizer itself is left out
  double temperature = 1.0;
  std::vector<SelfTestWindow> self_test;
};

struct EncodeOptions {
  int effort = 5;
  std::size_t threads = 0;
};

// Where the bytes went; `inspect` and `pack` print it. Sections sum to the file size.
struct ArtifactSection {
  std::string name;
  std::uint64_t offset = 0;
  std::uint64_t bytes = 0;
};
struct StreamReport {
  std::string part;    // "codes", "scales", "values"
  std::string layout;  // "base5", "base5_t", "planes", ...
  std::string codec;   // "raw", "lzma", "zstd", ...
  std::uint64_t raw_bytes = 0;
  std::uint64_t stored_bytes = 0;
  std::uint64_t order0_bytes = 0;  // order-0 entropy of the symbols, in bytes, rounded up
};
struct TensorReport {
  std::string name;
  Shape shape;
  std::string grid;  // "quinary", "fp8", "fp16"
  std::int64_t group = 0;
  double zero_share = 0;
  std::vector<StreamReport> streams;
};
struct ArtifactReport {
  std::uint64_t file_bytes = 0;
  int format_version = 0;
  std::vector<ArtifactSection> sections;
  std::vector<TensorReport> tensors;
  // The parts of file_bytes, by what they hold; they sum to it.
  std::uint64_t quantised_bytes = 0, float_bytes = 0, scale_bytes = 0, tokenizer_bytes = 0, metadata_bytes = 0, checksum_bytes = 0;
};

struct EncodedArtifact {
  std::vector<std::byte> bytes;
  ArtifactReport report;
};

// The same artifact and options give the same bytes on any machine and for any number of threads.
Result<EncodedArtifact> encode_artifact(const Artifact& artifact, const EncodeOptions& options);

// Decodes and checks everything: lengths against what remains, checksums, bounded memory. `path` names the file in errors.
struct DecodedArtifact {
  Artifact artifact;
  ArtifactReport report;
};
Result<DecodedArtifact> decode_artifact(std::span<const std::byte> bytes, const std::string& path, std::size_t threads = 0);
Result<DecodedArtifact> read_artifact(const std::string& path, std::size_t threads = 0);

}  // namespace par5
