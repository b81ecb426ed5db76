#include "eval/coding/coded_text.h"

#include <algorithm>
#include <chrono>

#include "archive/byte_io.h"
#include "core/file.h"
#include "core/log.h"
#include "core/text.h"
#include "eval/coding/text_learning.h"
#include "eval/self_test.h"

namespace par5 {
namespace {

constexpr std::string_view kProgressMagic = "p5dp3";

// Lanes are worth having while each has several windows to go through.
constexpr std::int64_t kWindowsPerLane = 4;

std::uint64_t checksum_of(const Bitstream& bitstream) { return xxh3_64(bitstream.payload) ^ bitstream.tokens_checksum; }

// The engine of a text, and what it learns by.
struct TextEngine {
  std::unique_ptr<Engine> fixed;  // or
  std::unique_ptr<TextLearning> learning;

  Engine& engine() { return learning ? learning->engine() : *fixed; }
  TokenCoder::Learning hook() {
    if (!learning) return {};
    return [this](std::span<const std::uint16_t> known) { return learning->learn_from(known); };
  }
};

Result<TextEngine> make_engine(const CodingModel& model, const CodingParameters& parameters, std::int64_t targets,
                               const CodingOptions& options) {
  const EngineOptions engine{parameters.arithmetic, options.kernel, options.threads};
  TextEngine text;
  if (parameters.learns()) {
    P5_TRY(text.learning,
           TextLearning::create(model.artifact.model, parameters, targets, model.artifact.temperature, engine));
  } else {
    P5_TRY(Engine fixed, Engine::create(model.artifact.model, engine));
    text.fixed = std::make_unique<Engine>(std::move(fixed));
  }
  return text;
}

// Where a decoder stands, with what it has learnt.
struct Progression {
  DecodeState coder;
  std::vector<std::byte> learning;
};

Status save_progress(const std::string& file, const Bitstream& bitstream, const DecodeState& state,
                     const TextLearning* learning) {
  ByteWriter out;
  out.raw(as_bytes(kProgressMagic));
  out.fixed(checksum_of(bitstream), 8);
  out.fixed(state.coder.range, 8);
  out.fixed(state.coder.code, 8);
  out.fixed(state.coder.position, 8);
  for (const auto& lane : state.lanes) {
    out.varint(lane.size());
    for (const std::uint16_t token : lane) out.fixed(token, 2);
  }
  if (learning) out.raw(learning->state());
  out.fixed(xxh3_64(out.bytes()), 8);
  return write_file(file, out.bytes(), Overwrite::yes);
}

Result<Progression> read_progress(const std::string& file, const Bitstream& bitstream) {
  P5_TRY(const std::vector<std::byte> bytes, read_file(file));
  if (bytes.size() < 8 + kProgressMagic.size()) return bad_data("'" + file + "' is no saved decoding", file);
  const std::span<const std::byte> all = bytes, body = all.first(all.size() - 8);
  ByteReader in(body, file, 0, "the saved decoding");
  ByteReader end(all.last(8), file, body.size(), "the saved decoding");
  P5_TRY(const std::uint64_t checksum, end.fixed(8));
  P5_OK(in.bytes(kProgressMagic.size()));
  P5_TRY(const std::uint64_t owner, in.fixed(8));
  if (checksum != xxh3_64(body) || owner != checksum_of(bitstream))
    return bad_data("'" + file + "' is damaged, or belongs to another bitstream; remove it to start anew", file);
  Progression progression;
  DecodeState& state = progression.coder;
  P5_TRY(state.coder.range, in.fixed(8));
  P5_TRY(state.coder.code, in.fixed(8));
  P5_TRY(state.coder.position, in.fixed(8));
  for (std::size_t lane = 0; lane < bitstream.lanes.size(); ++lane) {
    P5_TRY(const std::uint64_t count, in.varint());
    if (count > in.remaining() / 2) return in.error("a lane claims more tokens than there are");
    auto& tokens = state.lanes.emplace_back();
    for (std::uint64_t i = 0; i < count; ++i) {
      P5_TRY(const std::uint64_t token, in.fixed(2));
      tokens.push_back(static_cast<std::uint16_t>(token));
    }
  }
  P5_TRY(const auto learning, in.bytes(in.remaining()));
  progression.learning.assign(learning.begin(), learning.end());
  return progression;
}

}  // namespace

Result<CodingModel> load_coding_model(const std::string& path, std::size_t threads) {
  P5_TRY(const std::vector<std::byte> bytes, read_file(path));
  P5_TRY(DecodedArtifact decoded, decode_artifact(bytes, path, threads));
  if (const auto version = arithmetic_version(decoded.artifact.extras); !version) {
    Error error = version.error();
    return tl::unexpected(error.in_file(path));
  }
  return CodingModel{std::move(decoded.artifact), artifact_id(bytes), sha256_hex(bytes)};
}

std::vector<std::pair<std::int64_t, std::int64_t>> split_lanes(std::span<const std::uint16_t> tokens,
                                                               const CodingParameters& parameters, std::int64_t lanes) {
  const std::int64_t end = static_cast<std::int64_t>(tokens.size());
  std::vector<std::pair<std::int64_t, std::int64_t>> ranges;
  if (parameters.mode.kind == ModeKind::chunked) {
    const std::int64_t windows = (end - 1 + parameters.window - 1) / parameters.window;
    lanes = std::clamp<std::int64_t>(lanes, 1, std::max<std::int64_t>(windows, 1));
    std::int64_t begin = 1;
    for (std::int64_t lane = 0; lane < lanes; ++lane) {
      const std::int64_t count = windows / lanes + (lane < windows % lanes ? 1 : 0);
      ranges.emplace_back(begin, std::min(end, begin + count * parameters.window));
      begin = ranges.back().second;
    }
  } else if (parameters.by_document()) {
    // Cut before the first document that begins behind each even share.
    std::int64_t begin = 1;
    for (std::int64_t lane = 1; lane < lanes; ++lane) {
      std::int64_t cut = std::max(begin + 1, 1 + (end - 1) * lane / lanes);
      while (cut < end && tokens[static_cast<std::size_t>(cut - 1)] != parameters.bos) ++cut;
      if (cut >= end) break;
      ranges.emplace_back(begin, cut);
      begin = cut;
    }
    ranges.emplace_back(begin, end);
  } else {
    ranges.emplace_back(1, end);
  }
  return ranges;
}

Result<CodedText> encode_text(const CodingModel& model, const CodingParameters& wanted_parameters,
                              std::span<const std::uint16_t> tokens, const CodingOptions& options) {
  if (tokens.size() < 2) return bad_data("there is nothing to code: the text has no target");
  CodingParameters parameters = wanted_parameters;
  if (parameters.phased()) parameters.phases = phases_of(tokens, parameters);  // schedules count them
  const auto targets = static_cast<std::int64_t>(tokens.size()) - 1;
  P5_TRY(TextEngine text, make_engine(model, parameters, targets, options));
  Engine& engine = text.engine();
  const std::int64_t window = std::min(parameters.window, targets);
  std::int64_t wanted = options.lanes;
  if (wanted == 0)
    wanted = std::clamp<std::int64_t>(targets / window / kWindowsPerLane, 1,
                                      lanes_in_memory(model.artifact.model.model, window));
  CodedText coded;
  std::vector<std::span<const std::uint16_t>> lanes;
  for (const auto& [first, end] : split_lanes(tokens, parameters, std::min(wanted, kMostLanes))) {
    lanes.push_back(tokens.subspan(static_cast<std::size_t>(first - 1), static_cast<std::size_t>(end - first + 1)));
    coded.bitstream.lanes.push_back({lanes.back()[0], end - first});
  }
  TokenCoder coder(engine, model.artifact.temperature, parameters.rule(), text.hook());
  Progress progress("encoding", static_cast<std::uint64_t>(targets), "tokens");
  P5_TRY(EncodedTokens encoded, coder.encode(lanes, &progress));
  coded.bitstream.parameters = parameters;
  coded.bitstream.artifact = model.id;
  coded.bitstream.tokens_checksum = tokens_checksum(tokens);
  coded.bitstream.payload = std::move(encoded.payload);
  coded.claimed_bits = encoded.claimed_bits;
  coded.kernel = engine.kernel();
  coded.threads = engine.threads();
  if (text.learning) {
    coded.updates = text.learning->updates();
    coded.adapted_values = text.learning->adapted_values();
  }
  return coded;
}

Result<DecodedText> decode_text(const CodingModel& model, const Bitstream& bitstream, const std::string& path,
                                const CodingOptions& options, const std::string& progress_file,
                                double progress_seconds) {
  if (bitstream.artifact != model.id)
    return bad_data("'" + path + "' was coded with another artifact (SHA-256 " + hex(bitstream.artifact) +
                        "…) than this one (" + hex(model.id) + "…)",
                    path);
  P5_TRY(TextEngine maker, make_engine(model, bitstream.parameters, bitstream.targets(), options));
  Engine& engine = maker.engine();
  TokenCoder coder(engine, model.artifact.temperature, bitstream.parameters.rule(), maker.hook());
  DecodedText text;
  std::optional<Progression> resumed;
  if (!progress_file.empty() && file_exists(progress_file)) {
    P5_TRY(resumed, read_progress(progress_file, bitstream));
    if (maker.learning) P5_OK(maker.learning->restore(resumed->learning));
    for (const auto& lane : resumed->coder.lanes) text.resumed_targets += static_cast<std::int64_t>(lane.size()) - 1;
    log_info("going on behind " + grouped(text.resumed_targets) + " tokens that are decoded already");
  }
  using Clock = std::chrono::steady_clock;
  Clock::time_point saved = Clock::now();
  TokenCoder::Checkpoint checkpoint;
  if (!progress_file.empty())
    checkpoint = [&](const DecodeState& state) -> Status {
      if (std::chrono::duration<double>(Clock::now() - saved).count() < progress_seconds) return {};
      P5_OK(save_progress(progress_file, bitstream, state, maker.learning.get()));
      saved = Clock::now();
      return {};
    };
  Progress progress("decoding", static_cast<std::uint64_t>(bitstream.targets()), "tokens");
  auto lanes =
      coder.decode(bitstream.lanes, bitstream.payload, &progress, resumed ? &resumed->coder : nullptr, checkpoint);
  if (!lanes) return tl::unexpected(lanes.error().in_file(path));
  for (std::size_t lane = 0; lane < lanes->size(); ++lane) {
    const std::span<const std::uint16_t> tokens = (*lanes)[lane];
    if (lane > 0 && !text.tokens.empty() && text.tokens.back() != tokens[0])
      return bad_data("'" + path + "' does not decode to the text that was coded: lane " + std::to_string(lane) +
                          " does not follow the one before it",
                      path);
    const auto news = tokens.subspan(lane == 0 ? 0 : 1);
    text.tokens.insert(text.tokens.end(), news.begin(), news.end());
  }
  if (tokens_checksum(text.tokens) != bitstream.tokens_checksum)
    return bad_data("'" + path + "' does not decode to the text that was coded: the tokens have another checksum",
                    path);
  if (!progress_file.empty() && file_exists(progress_file)) P5_OK(remove_file(progress_file));
  text.kernel = engine.kernel();
  text.threads = engine.threads();
  if (maker.learning) text.updates = maker.learning->updates();
  return text;
}

}  // namespace par5
