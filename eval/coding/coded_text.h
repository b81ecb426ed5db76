// A text's tokens ⇄ a bitstream, by one artifact.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "archive/artifact.h"
#include "eval/coding/bitstream.h"

namespace par5 {

// An artifact with what coding needs of it.
struct CodingModel {
  Artifact artifact;
  ArtifactId id{};
  std::string sha256;  // of the file
};
// Reads an artifact; bad_data where it names an arithmetic that this par5 does not know.
Result<CodingModel> load_coding_model(const std::string& path, std::size_t threads);

struct CodingOptions {
  std::string kernel;  // empty: the best of this CPU
  std::size_t threads = 0;
  std::int64_t lanes = 0;  // encoding: how many at most; 0: what suits the text's length and the memory
};

struct CodedText {
  Bitstream bitstream;
  double claimed_bits = 0;
  std::string kernel;  // the one that ran
  std::size_t threads = 0;
  std::int64_t updates = 0;  // of a mode that learns
  std::int64_t adapted_values = 0;
};

// Codes tokens 1 … of a text; token 0 is given. Modes that carry something from target to target have one lane.
Result<CodedText> encode_text(const CodingModel& model, const CodingParameters& parameters,
                              std::span<const std::uint16_t> tokens, const CodingOptions& options);

// The tokens of a bitstream, the given one included; `path` names it in errors. A bitstream that was made with another
// artifact, or whose tokens do not have its checksum, is bad_data. Where `progress_file` is not empty, what is decoded
// and learnt is kept there every `progress_seconds`, a file of that name for the same bitstream is gone on from, and it
// is removed at the end.
struct DecodedText {
  std::vector<std::uint16_t> tokens;
  std::string kernel;
  std::size_t threads = 0;
  std::int64_t resumed_targets = 0;
  std::int64_t updates = 0;  // of a mode that learns, with those before it was resumed
};
Result<DecodedText> decode_text(const CodingModel& model, const Bitstream& bitstream, const std::string& path,
                                const CodingOptions& options, const std::string& progress_file = {},
                                double progress_seconds = 60);

// Ranges of targets [first, end) that become lanes: whole windows where chunked, whole documents where isolated, else
// one.
std::vector<std::pair<std::int64_t, std::int64_t>> split_lanes(std::span<const std::uint16_t> tokens,
                                                               const CodingParameters& parameters, std::int64_t lanes);

}  // namespace par5
