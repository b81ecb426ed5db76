// The artifact (*.par5): a stored model, its tokenizer and its facts in one file; docs/format.md is the specification.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "archive/codec.h"
#include "core/error.h"
#include "core/tokenizer_data.h"
#include "pack/stored_model.h"

namespace par5 {

// One self-test window: tokens and the bits that the exact definition gives for tokens 1 … n-1, in millibits.
struct SelfTestWindow {
  std::vector<std::uint16_t> tokens;
  std::uint64_t expected_millibits = 0;
  bool operator==(const SelfTestWindow&) const = default;
};

// A named fact that format version 1 has no number for. Readers keep optional ones and refuse required ones that they
// do not know.
struct NamedEntry {
  using Value = std::variant<std::uint64_t, double, std::string, std::vector<std::byte>>;
  std::string name;  // 1 … 64 bytes of UTF-8
  bool required = false;
  Value value;
  bool operator==(const NamedEntry&) const = default;
};

struct Artifact {
  StoredModel model;
  std::optional<TokenizerData> tokenizer;
  std::string tokenizer_sha256;  // 64 hexadecimal digits, also where the tokenizer itself is left out; or empty
  double temperature = 1.0;
  std::vector<SelfTestWindow> self_test;
  std::vector<NamedEntry> extras;  // in ascending order of names
};

// Equal to the last bit: configuration, codes, scales, floats, tokenizer and facts.
bool same_artifact(const Artifact& a, const Artifact& b);

struct EncodeOptions {
  int effort = 5;           // 0 … 9, a deterministic amount of work; 9 tries everything
  std::size_t threads = 0;  // 0: one per core
  // What may be used besides storing bytes as they are. lrzip is an external program, which readers then need as well.
  std::vector<Codec> codecs = {Codec::own, Codec::lzma, Codec::zstd, Codec::brotli, Codec::lzma2};
  // When this has passed, no further way of coding a stream is begun; the artifact then says so (time_limited).
  std::optional<double> max_seconds = {};
};

// Where the bytes went; `inspect` and `pack` print it. Sections sum to the file size.
struct ArtifactSection {
  std::string name;
  std::uint64_t offset = 0;
  std::uint64_t bytes = 0;
};
struct StreamReport {
  std::string part;             // "codes", "scales", "values"
  std::string layout;           // "base5", "base5_t", "planes", ...; of par5's own coder "chain0", "chain1", ...
  std::string codec;            // "raw", "lzma", "zstd", ..., "own"
  std::uint64_t offset = 0;     // in the file
  std::uint64_t values = 0;     // weights, scales or floats in it; 0 for streams that are no tensors
  std::uint64_t raw_bytes = 0;  // in this layout, before the codec
  std::uint64_t stored_bytes = 0;
  std::uint64_t order0_bytes = 0;  // order-0 entropy of the symbols, in bytes, rounded up; 0 where there are none
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
  std::vector<StreamReport> other_streams;  // tokenizer and self-test
  // Of liblzma, zstd and brotli that encoded: "5.4.1 1.5.4 1.0.9", and " lrzip 0.651" where it did; empty: none was
  // used.
  std::string codec_versions;
  bool time_limited = false;  // EncodeOptions::max_seconds cut the search, so that the bytes depend on the machine
  // The parts of file_bytes, by what they hold; they sum to it.
  std::uint64_t quantised_bytes = 0;
  std::uint64_t float_bytes = 0;
  std::uint64_t scale_bytes = 0;
  std::uint64_t tokenizer_bytes = 0;
  std::uint64_t metadata_bytes = 0;  // start, key/values, directory, self-test
  std::uint64_t checksum_bytes = 0;
};

// One way of coding a stream that was tried, and the bytes that it took.
struct Trial {
  std::string stream;  // "codes of 'blocks.0.mlp.fc.weight'"
  std::string layout;  // as in StreamReport
  std::string codec;   // with its parameters: "lzma lc=0 lp=0 pb=0"
  std::uint64_t bytes = 0;
};

struct EncodedArtifact {
  std::vector<std::byte> bytes;
  ArtifactReport report;
  std::vector<Trial> trials;  // in the order of the streams
};

// The same artifact and options give the same bytes on any machine and for any number of threads (and the same codec
// library versions). Before they are returned the bytes have been decoded and compared with the artifact. An artifact
// that contradicts itself is bad_data; one that a reader would refuse as too large is resource_limit; a signal gives
// interrupted.
Result<EncodedArtifact> encode_artifact(const Artifact& artifact, const EncodeOptions& options);

// Decodes and checks everything: lengths against what remains, checksums, bounded memory. `path` names the file in
// errors. Streams that an external program coded are handed to it, within bounds, or refused as bad_data; where it is
// not installed they are missing_tool.
enum class ExternalPrograms { refused, allowed };
struct DecodedArtifact {
  Artifact artifact;
  ArtifactReport report;
};
Result<DecodedArtifact> decode_artifact(std::span<const std::byte> bytes, const std::string& path,
                                        std::size_t threads = 0, ExternalPrograms programs = ExternalPrograms::allowed);
Result<DecodedArtifact> read_artifact(const std::string& path, std::size_t threads = 0);

}  // namespace par5
