// The bitstream: a text coded with an artifact's own probabilities, as a file. docs/bitstream.md is the specification.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/hash.h"
#include "engine/arithmetic.h"
#include "eval/coding/token_coder.h"
#include "eval/score.h"

namespace par5 {

inline constexpr int kBitstreamVersion = 1;
inline constexpr std::int64_t kMostLanes = 4096;

// Everything besides the artifact that decides the probabilities. All of it stands in the header.
struct CodingParameters {
  Arithmetic arithmetic = Arithmetic::fp32;
  Mode mode;
  std::int64_t window = 1;
  std::int64_t stride = 1;  // the window where windows are disjoint
  std::uint16_t bos = 1;    // document modes and ttt:phased
  // Modes that learn: how, and the weight of the mean squared log-sum-exp in the loss.
  TttConfig learning = {};
  double z_loss = 0;
  // ttt:phased: documents before each phase, and how many phases the text has at most.
  std::int64_t phase_documents = 1;
  std::int64_t phases = 0;

  bool learns() const { return mode_learns(mode); }
  // Something is carried from target to target, so that there is one lane.
  bool one_lane() const { return mode.kind == ModeKind::sliding || learns(); }
  bool by_document() const { return mode.kind == ModeKind::document || mode.kind == ModeKind::document_sliding; }
  bool phased() const { return mode.kind == ModeKind::ttt_phased; }
  bool finds_documents() const { return by_document() || phased(); }
  bool sliding() const { return mode.kind != ModeKind::chunked && mode.kind != ModeKind::document; }
  WindowRule rule() const { return {window, stride, by_document(), bos}; }
};

// The numbers of arithmetics in files. A number that means nothing is bad_data.
std::uint8_t arithmetic_number(Arithmetic arithmetic);
Result<Arithmetic> arithmetic_from_number(std::uint64_t number);

// The first eight bytes of the SHA-256 of an artifact's file.
using ArtifactId = std::array<std::byte, 8>;
ArtifactId artifact_id(std::span<const std::byte> file);

struct Bitstream {
  CodingParameters parameters;
  std::vector<LaneStart> lanes;  // in the order of the text; a lane's last token is the next lane's given one
  ArtifactId artifact{};
  std::uint64_t tokens_checksum = 0;  // XXH3-64 of all tokens, the given one included, as 16-bit little-endian integers
  std::vector<std::byte> payload;
  std::vector<std::byte> changes;  // what normalisation changed (source_changes.h); empty: not coded

  std::int64_t targets() const;
};

// Where a bitstream's bytes went; they sum to the file.
struct BitstreamSizes {
  std::uint64_t header = 0;     // with the given tokens of lanes
  std::uint64_t checksums = 0;  // and the artifact's identity
  std::uint64_t payload = 0;
  std::uint64_t changes = 0;
  std::uint64_t total() const { return header + checksums + payload + changes; }
};

struct WrittenBitstream {
  std::vector<std::byte> bytes;
  BitstreamSizes sizes;
};
Result<WrittenBitstream> write_bitstream(const Bitstream& bitstream);
// Everything is checked: lengths against what remains, the checksum over the file, ranges. An unknown version of the
// format or of the arithmetic is refused by name. Errors are bad_data with `path` and an offset.
Result<Bitstream> read_bitstream(std::span<const std::byte> bytes, const std::string& path);

std::uint64_t tokens_checksum(std::span<const std::uint16_t> tokens);

}  // namespace par5
