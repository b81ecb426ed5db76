#include "eval/coding/token_coder.h"

#include <algorithm>
#include <string>

#include "core/cancel.h"
#include "engine/frequencies.h"

namespace par5 {
namespace {

// Inputs of one call to the engine while encoding: enough to share the decoding of the weights.
constexpr std::int64_t kTokensAtOnce = 1024;
constexpr std::int64_t kUsefulLanes = 64;

// Keys and values of the lanes that an encoder chooses by itself, and the most that a decoder accepts.
constexpr std::int64_t kUsefulBytes = std::int64_t{1} << 28, kMostBytes = std::int64_t{1} << 32;

std::int64_t window_bytes(const ModelConfig& model, std::int64_t window) {
  return std::max<std::int64_t>(window * model.kv_heads * model.head_width() * model.layers * 8, 1);
}

std::int64_t length(std::span<const std::uint16_t> tokens) { return static_cast<std::int64_t>(tokens.size()); }
std::size_t index(std::int64_t value) { return static_cast<std::size_t>(value); }

Interval interval_of(std::span<const std::uint64_t> frequencies, std::uint64_t total, std::uint16_t token) {
  std::uint64_t start = 0;
  for (std::size_t t = 0; t < token; ++t) start += frequencies[t];
  return {start, frequencies[token], total};
}

}  // namespace

std::int64_t lanes_in_memory(const ModelConfig& model, std::int64_t window) {
  return std::clamp<std::int64_t>(kUsefulBytes / window_bytes(model, window), 1, kUsefulLanes);
}

Status TokenCoder::enter_window(std::span<const std::uint16_t> known) {
  if (cancelled()) return interrupted();
  return learning_ ? learning_(known) : Status();
}

struct TokenCoder::EncodingLane {
  std::span<const std::uint16_t> tokens;
  std::int64_t target = 1;          // the next one to be run through the network
  std::int64_t start = 0;           // of its window
  std::vector<Interval> intervals;  // of targets that are run but not coded, from `coded`
  std::size_t coded = 0;

  bool waiting() const { return coded < intervals.size(); }
  bool finished() const { return !waiting() && target >= length(tokens); }
};

// Runs the next window of every lane that has nothing to code.
Status TokenCoder::encode_windows(std::vector<EncodingLane>& lanes, EncodedTokens& result) {
  struct Job {
    EncodingLane* lane;
    WindowInput input;
  };
  std::vector<Job> jobs;
  const auto run = [&]() -> Status {
    std::vector<WindowInput> inputs;
    for (const Job& job : jobs) {
      inputs.push_back(job.input);
      windows_.truncate(job.input.window, 0);
    }
    std::size_t job = 0;
    std::int64_t row_of_job = 0;
    const auto vocab = index(engine_.model().vocab);
    const auto sink = [&](std::int64_t, std::int64_t rows, std::span<const float> logits) -> Status {
      frequencies_.resize(std::max(frequencies_.size(), logits.size()));
      totals_.resize(std::max(totals_.size(), index(rows)));
      engine_.frequencies(logits, temperature_, kFrequencyBits, frequencies_, totals_);
      for (std::int64_t row = 0; row < rows; ++row) {
        while (row_of_job == length(jobs[job].input.tokens) - jobs[job].input.first_wanted) {
          ++job;
          row_of_job = 0;
        }
        EncodingLane& lane = *jobs[job].lane;
        const std::uint16_t token = lane.tokens[index(lane.target++)];
        if (token >= vocab)
          return bad_data("token id " + std::to_string(token) + " is beyond the model's vocabulary of " +
                          std::to_string(vocab));
        lane.intervals.push_back(
            interval_of(std::span(frequencies_).subspan(index(row) * vocab, vocab), totals_[index(row)], token));
        result.claimed_bits += claimed_bits(lane.intervals.back().frequency, lane.intervals.back().total);
        ++row_of_job;
      }
      return {};
    };
    P5_OK(engine_.append(windows_, inputs, sink));
    jobs.clear();
    return {};
  };

  std::int64_t tokens = 0;
  for (EncodingLane& lane : lanes) {
    if (lane.waiting() || lane.finished()) continue;
    lane.intervals.clear();
    lane.coded = 0;
    const auto start_of = [&](std::int64_t target) {
      return rule_.next_start(lane.start, target, lane.tokens[index(target - 1)]);
    };
    P5_OK(enter_window(lane.tokens.first(index(lane.target))));
    lane.start = start_of(lane.target);
    std::int64_t end = lane.target + 1;
    while (end < length(lane.tokens) && start_of(end) == lane.start) ++end;
    const auto inputs = lane.tokens.subspan(index(lane.start), index(end - 1 - lane.start));
    jobs.push_back({&lane, {static_cast<std::int64_t>(jobs.size()), inputs, lane.target - 1 - lane.start}});
    tokens += length(inputs);
    if (tokens < kTokensAtOnce && static_cast<std::int64_t>(jobs.size()) < windows_.count()) continue;
    P5_OK(run());
    tokens = 0;
  }
  return jobs.empty() ? Status() : run();
}

Result<EncodedTokens> TokenCoder::encode(std::span<const std::span<const std::uint16_t>> texts, Progress* progress) {
  if (learning_ && (texts.size() != 1 || rule_.by_document)) return internal_error("a mode that learns has one lane");
  std::vector<EncodingLane> lanes;
  std::int64_t longest = 0;
  for (const auto text : texts) {
    if (text.empty()) return internal_error("a lane has no given token");
    lanes.push_back({text, 1, 0, {}, 0});
    longest = std::max(longest, length(text) - 1);
  }
  EncodedTokens result;
  if (longest == 0) return result;
  const std::int64_t capacity = std::min(rule_.window, longest);
  const auto slots = std::min<std::int64_t>(static_cast<std::int64_t>(lanes.size()), 1 + kTokensAtOnce / capacity);
  P5_TRY(windows_, engine_.make_windows(slots, capacity));
  IntervalEncoder coder;
  std::uint64_t done = 0;
  while (true) {
    P5_OK(encode_windows(lanes, result));
    std::size_t steps = 0;
    for (const EncodingLane& lane : lanes)
      if (lane.waiting()) {
        const std::size_t ready = lane.intervals.size() - lane.coded;
        steps = steps == 0 ? ready : std::min(steps, ready);
      }
    if (steps == 0) break;
    for (; steps > 0; --steps)
      for (EncodingLane& lane : lanes)
        if (lane.waiting()) {
          coder.code(lane.intervals[lane.coded++]);
          ++done;
        }
    if (progress) progress->update(done);
  }
  result.payload = coder.finish();
  return result;
}

struct TokenCoder::DecodingLane {
  std::int64_t targets = 0;
  std::int64_t start = 0;  // of the window of the last decoded target
  bool begun = false;
};

// Decodes one target of every lane that has any left.
Status TokenCoder::decode_step(std::vector<DecodingLane>& lanes, DecodeState& state, IntervalDecoder& coder) {
  std::vector<WindowInput> inputs;
  for (std::size_t l = 0; l < lanes.size(); ++l) {
    DecodingLane& lane = lanes[l];
    const std::span<const std::uint16_t> tokens = state.lanes[l];
    const std::int64_t target = length(tokens);
    if (target > lane.targets) continue;
    const std::int64_t start = rule_.next_start(lane.start, target, tokens.back());
    const auto window = static_cast<std::int64_t>(l);
    if (!lane.begun || start != lane.start) {
      // Not all tokens: a decoder that goes on from a saved state may be in the middle of the window.
      P5_OK(enter_window(learning_ ? tokens.first(index(rule_.first_target(start))) : tokens));
      windows_.truncate(window, 0);
      lane.begun = true;
      lane.start = start;
    }
    const auto news = tokens.subspan(index(start + windows_.length(window)));
    inputs.push_back({window, news, length(news) - 1});
  }
  std::vector<std::uint16_t> decoded;
  const auto vocab = index(engine_.model().vocab);
  P5_OK(engine_.append(windows_, inputs, [&](std::int64_t, std::int64_t rows, std::span<const float> logits) {
    frequencies_.resize(std::max(frequencies_.size(), logits.size()));
    totals_.resize(std::max(totals_.size(), index(rows)));
    engine_.frequencies(logits, temperature_, kFrequencyBits, frequencies_, totals_);
    for (std::size_t row = 0; row < index(rows); ++row)
      decoded.push_back(static_cast<std::uint16_t>(
          coder.code(std::span<const std::uint64_t>(frequencies_).subspan(row * vocab, vocab), totals_[row])));
    return Status();
  }));
  if (decoded.size() != inputs.size()) return internal_error("the engine left out some of the wanted positions");
  for (std::size_t i = 0; i < inputs.size(); ++i) state.lanes[index(inputs[i].window)].push_back(decoded[i]);
  state.coder = coder.state();
  if (coder.exhausted())
    return bad_data("the coded text ends too early: its payload is truncated, or was made with other probabilities");
  return {};
}

Result<std::vector<std::vector<std::uint16_t>>> TokenCoder::decode(std::span<const LaneStart> starts,
                                                                   std::span<const std::byte> payload,
                                                                   Progress* progress, const DecodeState* resume,
                                                                   const Checkpoint& checkpoint) {
  if (learning_ && (starts.size() != 1 || rule_.by_document)) return internal_error("a mode that learns has one lane");
  IntervalDecoder coder = resume ? IntervalDecoder(payload, resume->coder) : IntervalDecoder(payload);
  DecodeState state;
  state.coder = coder.state();
  std::vector<DecodingLane> lanes;
  std::int64_t longest = 0;
  std::uint64_t total = 0, done = 0;
  for (const LaneStart& start : starts) {
    state.lanes.push_back({start.first});
    lanes.push_back({start.targets, 0, false});
    longest = std::max(longest, start.targets);
    total += static_cast<std::uint64_t>(start.targets);
  }
  if (resume) {
    bool fits = resume->lanes.size() == lanes.size();
    for (std::size_t l = 0; fits && l < lanes.size(); ++l) {
      const std::vector<std::uint16_t>& tokens = resume->lanes[l];
      fits = !tokens.empty() && tokens[0] == starts[l].first && length(tokens) <= starts[l].targets + 1;
      for (std::int64_t target = 1; fits && target < length(tokens); ++target)
        lanes[l].start = rule_.next_start(lanes[l].start, target, tokens[index(target - 1)]);
      done += tokens.size() - 1;
    }
    if (!fits) return bad_data("the saved state belongs to another coded text");
    state.lanes = resume->lanes;
  }
  if (longest > 0) {
    const std::int64_t capacity = std::min(rule_.window, longest), count = static_cast<std::int64_t>(lanes.size());
    if (window_bytes(engine_.model(), capacity) > kMostBytes / count)
      return resource_limit(std::to_string(count) + " lanes with windows of " + std::to_string(capacity) +
                            " tokens need more than 4 GiB of keys and values");
    P5_TRY(windows_, engine_.make_windows(count, capacity));
  }
  while (done < total) {
    if (cancelled()) return interrupted();
    const std::size_t before = index(static_cast<std::int64_t>(done));
    P5_OK(decode_step(lanes, state, coder));
    done = 0;
    for (const auto& tokens : state.lanes) done += tokens.size() - 1;
    if (done == before) return internal_error("a step decoded nothing");
    if (progress) progress->update(done);
    if (checkpoint) P5_OK(checkpoint(state));
  }
  if (total > 0 && !coder.at_end())
    return bad_data("the coded text goes on behind its end: it was made with other probabilities");
  if (total == 0 && !payload.empty()) return bad_data("a text without targets has a payload");
  return std::move(state.lanes);
}

}  // namespace par5
