#include "eval/coding/bitstream.h"

#include <algorithm>
#include <bit>
#include <optional>

#include "archive/byte_io.h"
#include "core/text.h"
#include "eval/learning.h"

namespace par5 {
namespace {

constexpr std::string_view kMagic = "p5bs";
constexpr std::int64_t kLongestWindow = std::int64_t{1} << 20;
constexpr std::int64_t kMostTargets = std::int64_t{1} << 40;
constexpr std::size_t kChecksumBytes = 24;  // artifact, tokens, file

// By their numbers in files.
constexpr std::array kModes = {ModeKind::chunked,          ModeKind::sliding,     ModeKind::document,
                               ModeKind::document_sliding, ModeKind::ttt_scalars, ModeKind::ttt_model,
                               ModeKind::online,           ModeKind::ttt_phased};
constexpr std::array kArithmetics = {Arithmetic::fp32, Arithmetic::int8, Arithmetic::fp32_adds};
constexpr std::array kSchedules = {TttSchedule::constant, TttSchedule::cosine};
constexpr std::array kOptimizers = {TttOptimizer::sgd, TttOptimizer::lars};
constexpr std::int64_t kMostEpochs = 1'000'000;
constexpr std::int64_t kMostPhaseDocuments = 1'000'000'000'000'000;  // what the configuration allows

template <class Value, std::size_t kCount>
std::optional<std::uint8_t> number_of(const std::array<Value, kCount>& values, Value value) {
  const auto found = std::find(values.begin(), values.end(), value);
  if (found == values.end()) return std::nullopt;
  return static_cast<std::uint8_t>(found - values.begin());
}

// A varint in [lowest, highest].
Result<std::int64_t> ranged(ByteReader& in, const char* what, std::int64_t lowest, std::int64_t highest) {
  const std::uint64_t where = in.offset();
  P5_TRY(const std::uint64_t value, in.varint());
  if (value < static_cast<std::uint64_t>(lowest) || value > static_cast<std::uint64_t>(highest))
    return in.error_at(where, std::string(what) + " of " + std::to_string(value) + " is outside " +
                                  std::to_string(lowest) + " … " + std::to_string(highest));
  return static_cast<std::int64_t>(value);
}

// A binary64 in [lowest, highest].
Result<double> ranged_number(ByteReader& in, const char* what, double lowest, double highest) {
  const std::uint64_t where = in.offset();
  P5_TRY(const std::uint64_t bits, in.fixed(8));
  const auto value = std::bit_cast<double>(bits);
  if (!(value >= lowest && value <= highest))
    return in.error_at(where, std::string(what) + " of " + shortest(value) + " is outside " + shortest(lowest) + " … " +
                                  shortest(highest));
  return value;
}

// The settings of a mode that learns, in the order of the file.
struct LearningNumber {
  const char* what;
  double* value;
  double highest;
};
std::vector<LearningNumber> learning_numbers(CodingParameters& parameters) {
  constexpr double kLargest = 1e30;
  TttConfig& learning = parameters.learning;
  std::vector<LearningNumber> numbers = {{"a learning rate", &learning.lr, kLargest},
                                         {"a momentum", &learning.momentum, 1},
                                         {"a clip", &learning.clip, kLargest},
                                         {"a decay", &learning.decay, 1}};
  if (parameters.mode.kind != ModeKind::online) numbers.push_back({"a z-loss", &parameters.z_loss, kLargest});
  if (adaptation_of(parameters.mode.kind) == Adaptation::all)
    for (double* factor : {&learning.matrix_factor, &learning.embedding_factor, &learning.calibration_factor})
      numbers.push_back({"a factor of the rate", factor, kLargest});
  return numbers;
}

Status write_learning(ByteWriter& out, CodingParameters parameters) {
  const TttConfig& learning = parameters.learning;
  const auto schedule = number_of(kSchedules, learning.schedule);
  const auto optimizer = number_of(kOptimizers, learning.optimizer);
  if (!schedule || !optimizer) return usage_error("a text is coded with learning by sgd or lars only");
  if (parameters.phased()) {
    out.varint(static_cast<std::uint64_t>(parameters.phase_documents));
    out.varint(static_cast<std::uint64_t>(parameters.phases));
  } else {
    out.varint(static_cast<std::uint64_t>(learning.chunk_tokens));
  }
  out.varint(static_cast<std::uint64_t>(learning.epochs));
  out.varint(static_cast<std::uint64_t>(learning.batch_windows));
  out.fixed(*schedule, 1);
  out.fixed(*optimizer, 1);
  for (const LearningNumber& number : learning_numbers(parameters))
    out.fixed(std::bit_cast<std::uint64_t>(*number.value), 8);
  return {};
}

Status read_learning(ByteReader& in, CodingParameters& parameters) {
  TttConfig& learning = parameters.learning;
  if (parameters.phased()) {
    P5_TRY(parameters.phase_documents, ranged(in, "a phase's number of documents", 1, kMostPhaseDocuments));
    P5_TRY(parameters.phases, ranged(in, "a number of phases", 0, kMostTargets));
  } else {
    P5_TRY(learning.chunk_tokens, ranged(in, "a chunk", 1, kMostTargets));
  }
  P5_TRY(learning.epochs, ranged(in, "a number of epochs", 0, kMostEpochs));
  P5_TRY(learning.batch_windows, ranged(in, "a number of windows to a step", 1, kMostTargets));
  P5_TRY(const std::int64_t schedule, ranged(in, "a schedule", 0, kSchedules.size() - 1));
  learning.schedule = kSchedules[static_cast<std::size_t>(schedule)];
  P5_TRY(const std::int64_t optimizer, ranged(in, "an optimiser", 0, kOptimizers.size() - 1));
  learning.optimizer = kOptimizers[static_cast<std::size_t>(optimizer)];
  for (const LearningNumber& number : learning_numbers(parameters)) {
    P5_TRY(*number.value, ranged_number(in, number.what, 0, number.highest));
  }
  return {};
}

// Lanes of chunked texts are whole windows, as many in each as in the others or one more.
std::int64_t chunked_lane_targets(std::int64_t targets, std::int64_t window, std::int64_t lanes, std::int64_t lane) {
  const std::int64_t windows = (targets + window - 1) / window;
  const auto before = [&](std::int64_t l) {
    return std::min(targets, (windows / lanes * l + std::min(windows % lanes, l)) * window);
  };
  return before(lane + 1) - before(lane);
}

}  // namespace

std::uint8_t arithmetic_number(Arithmetic arithmetic) { return *number_of(kArithmetics, arithmetic); }

Result<Arithmetic> arithmetic_from_number(std::uint64_t number) {
  if (number < kArithmetics.size()) return kArithmetics[static_cast<std::size_t>(number)];
  return bad_data("an arithmetic of " + std::to_string(number) + " is outside 0 … " +
                  std::to_string(kArithmetics.size() - 1));
}

ArtifactId artifact_id(std::span<const std::byte> file) {
  const Digest digest = sha256(file);
  ArtifactId id;
  std::copy_n(digest.begin(), id.size(), id.begin());
  return id;
}

std::uint64_t tokens_checksum(std::span<const std::uint16_t> tokens) {
  std::vector<std::byte> bytes;
  bytes.reserve(tokens.size() * 2);
  for (const std::uint16_t token : tokens) {
    bytes.push_back(static_cast<std::byte>(token & 255));
    bytes.push_back(static_cast<std::byte>(token >> 8));
  }
  return xxh3_64(bytes);
}

std::int64_t Bitstream::targets() const {
  std::int64_t sum = 0;
  for (const LaneStart& lane : lanes) sum += lane.targets;
  return sum;
}

Result<WrittenBitstream> write_bitstream(const Bitstream& bitstream) {
  const CodingParameters& parameters = bitstream.parameters;
  const auto mode = number_of(kModes, parameters.mode.kind);
  if (!mode || parameters.mode.no_learning || parameters.mode.unit_temperature)
    return usage_error("a text cannot be coded in the mode " + mode_name(parameters.mode), "--mode");
  ByteWriter out;
  out.raw(as_bytes(kMagic));
  out.varint(kBitstreamVersion);
  out.varint(kArithmeticVersion);
  out.fixed(arithmetic_number(parameters.arithmetic), 1);
  out.fixed(*mode, 1);
  out.varint(static_cast<std::uint64_t>(parameters.window));
  if (parameters.sliding()) out.varint(static_cast<std::uint64_t>(parameters.stride));
  if (parameters.finds_documents()) out.varint(parameters.bos);
  if (parameters.learns()) P5_OK(write_learning(out, parameters));
  const std::int64_t targets = bitstream.targets();
  out.varint(static_cast<std::uint64_t>(targets));
  out.varint(bitstream.lanes.size());
  for (std::size_t lane = 0; lane < bitstream.lanes.size(); ++lane) {
    const LaneStart& start = bitstream.lanes[lane];
    if (lane == 0 || !parameters.by_document()) out.varint(start.first);
    if (parameters.by_document()) {
      if (lane + 1 < bitstream.lanes.size()) out.varint(static_cast<std::uint64_t>(start.targets));
    } else if (start.targets != chunked_lane_targets(targets, parameters.window,
                                                     static_cast<std::int64_t>(bitstream.lanes.size()),
                                                     static_cast<std::int64_t>(lane))) {
      return internal_error("the lanes of a chunked text are not whole windows");
    }
  }
  out.varint(bitstream.payload.size());
  out.varint(bitstream.changes.size());
  const std::size_t header = out.bytes().size();
  out.raw(bitstream.artifact);
  out.fixed(bitstream.tokens_checksum, 8);
  std::vector<std::byte> checked = out.bytes();
  checked.insert(checked.end(), bitstream.payload.begin(), bitstream.payload.end());
  checked.insert(checked.end(), bitstream.changes.begin(), bitstream.changes.end());
  out.fixed(xxh3_64(checked), 8);
  out.raw(bitstream.payload);
  out.raw(bitstream.changes);
  return WrittenBitstream{out.take(), {header, kChecksumBytes, bitstream.payload.size(), bitstream.changes.size()}};
}

Result<Bitstream> read_bitstream(std::span<const std::byte> bytes, const std::string& path) {
  ByteReader in(bytes, path, 0, "the bitstream");
  if (bytes.size() < kMagic.size() || !std::equal(kMagic.begin(), kMagic.end(), bytes.begin(),
                                                  [](char a, std::byte b) { return static_cast<std::byte>(a) == b; }))
    return bad_data("'" + path + "' is not a par5 bitstream: it does not start with \"p5bs\"", path, 0);
  P5_OK(in.bytes(kMagic.size()));
  const auto unknown = [&](const std::string& what, int known, std::uint64_t where) {
    return bad_data("'" + path + "' needs " + what + ", which this par5 does not know (it has version " +
                        std::to_string(known) + ")",
                    path, where);
  };
  P5_TRY(const std::uint64_t version, in.varint());
  if (version != kBitstreamVersion)
    return unknown("version " + std::to_string(version) + " of bitstreams", kBitstreamVersion, kMagic.size());
  const std::uint64_t arithmetic_at = in.offset();
  P5_TRY(const std::uint64_t arithmetic_version, in.varint());
  if (arithmetic_version != kArithmeticVersion)
    return unknown("version " + std::to_string(arithmetic_version) + " of the exact arithmetic", kArithmeticVersion,
                   arithmetic_at);
  Bitstream bitstream;
  CodingParameters& parameters = bitstream.parameters;
  P5_TRY(const std::int64_t arithmetic, ranged(in, "an arithmetic", 0, kArithmetics.size() - 1));
  P5_TRY(parameters.arithmetic, arithmetic_from_number(static_cast<std::uint64_t>(arithmetic)));
  P5_TRY(const std::int64_t mode, ranged(in, "a mode", 0, kModes.size() - 1));
  parameters.mode.kind = kModes[static_cast<std::size_t>(mode)];
  P5_TRY(parameters.window, ranged(in, "a window", 1, kLongestWindow));
  parameters.stride = parameters.window;
  if (parameters.sliding()) {
    P5_TRY(parameters.stride, ranged(in, "a stride", 1, parameters.window));
  }
  if (parameters.finds_documents()) {
    P5_TRY(const std::int64_t bos, ranged(in, "a BOS", 0, 65535));
    parameters.bos = static_cast<std::uint16_t>(bos);
  }
  if (parameters.learns()) P5_OK(read_learning(in, parameters));
  P5_TRY(const std::int64_t targets, ranged(in, "a number of targets", 1, kMostTargets));
  const std::int64_t most_lanes = parameters.one_lane() ? 1 : std::min(targets, kMostLanes);
  P5_TRY(const std::int64_t lanes, ranged(in, "a number of lanes", 1, most_lanes));
  std::int64_t left = targets;
  for (std::int64_t lane = 0; lane < lanes; ++lane) {
    LaneStart start{parameters.bos, 0};
    if (lane == 0 || !parameters.by_document()) {
      P5_TRY(const std::int64_t first, ranged(in, "a token", 0, 65535));
      start.first = static_cast<std::uint16_t>(first);
    }
    if (!parameters.by_document()) {
      start.targets = chunked_lane_targets(targets, parameters.window, lanes, lane);
    } else if (lane + 1 < lanes) {
      P5_TRY(start.targets, ranged(in, "a lane's length", 1, left - (lanes - 1 - lane)));
    } else {
      start.targets = left;
    }
    left -= start.targets;
    bitstream.lanes.push_back(start);
  }
  P5_TRY(const std::uint64_t payload, in.varint());
  P5_TRY(const std::uint64_t changes, in.varint());
  P5_TRY(const auto artifact, in.bytes(bitstream.artifact.size()));
  std::copy(artifact.begin(), artifact.end(), bitstream.artifact.begin());
  P5_TRY(bitstream.tokens_checksum, in.fixed(8));
  const auto header = bytes.first(static_cast<std::size_t>(in.offset()));
  P5_TRY(const std::uint64_t checksum, in.fixed(8));
  if (payload > in.remaining() || changes > in.remaining() - payload)
    return in.error("it is truncated: " + std::to_string(payload) + " bytes of payload and " + std::to_string(changes) +
                    " of changes belong here and " + std::to_string(in.remaining()) + " bytes remain");
  const auto body = bytes.subspan(static_cast<std::size_t>(in.offset()));
  if (body.size() != payload + changes)
    return in.error_at(in.offset() + payload + changes,
                       std::to_string(body.size() - payload - changes) + " bytes follow its end");
  std::vector<std::byte> checked(header.begin(), header.end());
  checked.insert(checked.end(), body.begin(), body.end());
  if (xxh3_64(checked) != checksum)
    return in.error_at(header.size(), "its checksum does not hold, so a byte of it has changed");
  bitstream.payload.assign(body.begin(), body.begin() + static_cast<std::ptrdiff_t>(payload));
  bitstream.changes.assign(body.begin() + static_cast<std::ptrdiff_t>(payload), body.end());
  return bitstream;
}

}  // namespace par5
