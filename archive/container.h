// Internal to archive/: what encoder and decoder agree on. docs/format.md, "The file", is the specification.
//
//   magic "par5" | version | header length | metadata | directory | checksums | streams … | file checksum
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "archive/artifact.h"
#include "archive/codec.h"
#include "archive/metadata.h"
#include "archive/streams.h"
#include "core/hash.h"

namespace par5 {

inline constexpr std::array<std::byte, 4> kMagic = {std::byte{'p'}, std::byte{'a'}, std::byte{'r'}, std::byte{'5'}};
inline constexpr int kFormatVersion = 1;
inline constexpr int kStreamChecksumBytes = 4;
inline constexpr int kFileChecksumBytes = 8;

// One run of stored bytes as the directory describes it, with its place in the file: a stream, or a chain of streams.
struct StreamEntry {
  std::vector<std::size_t> slots;  // one, or the members of a chain, in file order
  Codec codec = Codec::raw;
  Layout layout = Layout::bytes;  // of a chain: that of the bytes under the checksum
  int chain = 0;                  // its number, where the codec is `own`
  std::uint64_t offset = 0;
  std::uint64_t stored_bytes = 0;
  std::uint64_t raw_bytes = 0;  // decoded
  std::uint32_t checksum = 0;   // of the decoded bytes
};

// The parsed head of a file. Offsets count from the start of the file.
struct Container {
  Metadata metadata;
  std::vector<TensorSpec> specs;
  std::vector<StreamSlot> slots;
  std::vector<StreamEntry> entries;
  std::uint64_t metadata_offset = 0;
  std::uint64_t directory_offset = 0;
  std::uint64_t checksums_offset = 0;  // stream checksums, then the head's own
  std::uint64_t streams_offset = 0;
  std::uint64_t file_bytes = 0;
  bool intact = false;  // the file checksum holds
};

// The head alone: everything is checked that can be without decoding a stream.
Result<Container> parse_container(std::span<const std::byte> file, const std::string& path);

// The values that an artifact may decode to: enough for any real model, far from a bomb. Codes, floats and scales
// count alike.
inline std::uint64_t most_values(std::uint64_t file_bytes) { return (std::uint64_t{1} << 27) + 64 * file_bytes; }
// Refuses an architecture that would decode to more than most_values: resource_limit.
Status check_value_count(const Metadata& metadata, const std::vector<TensorSpec>& specs, std::uint64_t file_bytes);

inline std::uint32_t short_checksum(std::span<const std::byte> bytes) {
  return static_cast<std::uint32_t>(xxh3_64(bytes));
}

// The one place where a checksum is compared: fuzzers are let past it, to what lies behind.
constexpr bool checksum_holds([[maybe_unused]] std::uint64_t stored, [[maybe_unused]] std::uint64_t computed) {
#ifdef FUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION
  return true;
#else
  return stored == computed;
#endif
}

// `slot_bytes` are the stored bytes of every slot.
ArtifactReport make_report(const Container& container, const Artifact& artifact,
                           const std::vector<std::uint64_t>& slot_bytes);

}  // namespace par5
