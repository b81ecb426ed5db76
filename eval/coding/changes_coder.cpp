// The coded form of edits: one stream of binary decisions, each with a probability mixed from a few adaptive counters.
// Most edits replace a space (by a line break, by two spaces), so every space of the text is asked about, with the
// column, the neighbours and the last answers as contexts; all other edits are listed first.
#include <array>
#include <bit>

#include "archive/coder/mixer.h"
#include "archive/coder/range_coder.h"
#include "eval/coding/source_text.h"

namespace par5 {
namespace {

using coder::Counter;
using coder::MixerVector;
using coder::Tables;

constexpr int kInputs = 6;
constexpr std::size_t kCounters = std::size_t{1} << 13;  // of each input
constexpr std::uint32_t kCounterLimit = 250;
constexpr float kLearningRate = 0.02f;
constexpr std::size_t kMostReplacements = 24;

using Contexts = std::array<std::uint32_t, kInputs>;

// Decisions for an encoder or a decoder of binary symbols.
template <class Coder>
class DecisionCoder {
 public:
  explicit DecisionCoder(Coder& coder) : coder_(coder), counters_(kInputs * kCounters) {
    for (MixerVector& weights : weights_) {
      weights.fill(0);
      std::fill_n(weights.begin(), kInputs, 0.35f);
    }
  }

  bool code(bool bit, std::uint32_t set, const Contexts& contexts) {
    MixerVector inputs{};
    std::array<Counter*, kInputs> counters;
    for (int i = 0; i < kInputs; ++i) {
      const std::uint32_t hash = (contexts[static_cast<std::size_t>(i)] * 64 + set) * 0x9e3779b1u;
      counters[static_cast<std::size_t>(i)] = &counters_[static_cast<std::size_t>(i) * kCounters + (hash >> 19)];
      inputs[static_cast<std::size_t>(i)] = coder::stretch(tables_, counters[static_cast<std::size_t>(i)]->probability);
    }
    MixerVector& weights = weights_[set];
    const coder::MixerInputs lanes = coder::MixerInputs::of(inputs);
    const float probability = coder::squash(tables_, coder::dot(weights, lanes));
    bit = coder_.code(bit, static_cast<std::uint32_t>(coder::clamp(probability * 65536.0f, 1.0f, 65535.0f)));
    const float value = bit ? 1.0f : 0.0f;
    coder::add_scaled(weights, lanes, (value - probability) * kLearningRate);
    for (Counter* counter : counters) counter->update(tables_, value, kCounterLimit);
    return bit;
  }

  // A number by the length of its binary form, then its digits. `set` and the next one are its own.
  std::uint64_t number(std::uint64_t value, std::uint32_t set) {
    const auto width = static_cast<std::uint32_t>(std::bit_width(value));
    std::uint32_t coded = 0;
    while (coded < 40 && code(coded < width, set, {coded, coded, coded, coded, coded, coded})) ++coded;
    std::uint64_t result = coded > 0 ? 1 : 0;
    for (std::uint32_t i = 1; i < coded; ++i) {
      const std::uint32_t context = coded * 64 + i;
      const bool digit = code((value >> (coded - 1 - i)) & 1, set + 1, {context, context, i, i, coded, 0});
      result = result << 1 | (digit ? 1u : 0u);
    }
    return result;
  }

  unsigned char byte(unsigned char value, std::uint32_t set, std::uint32_t previous) {
    std::uint32_t node = 1;
    for (int i = 7; i >= 0; --i)
      node = node << 1 | (code((value >> i) & 1, set, {node, node | previous << 8, node, node, node, node}) ? 1u : 0u);
    return static_cast<unsigned char>(node);
  }

 private:
  const Tables& tables_ = Tables::get();
  Coder& coder_;
  std::vector<Counter> counters_;
  std::array<MixerVector, 64> weights_;
};

// The sets of decisions.
enum Set : std::uint32_t { kCount = 0, kGap = 2, kErased = 4, kLength = 6, kBytes = 8, kReplacement = 16 };

template <class Coder>
std::string code_string(DecisionCoder<Coder>& decisions, const std::string& value, std::uint64_t most, bool& fits) {
  const std::uint64_t length = decisions.number(value.size(), kLength);
  std::string result;
  if (length > most) {
    fits = false;
    return result;
  }
  std::uint32_t previous = 0;
  for (std::uint64_t i = 0; i < length; ++i) {
    previous = decisions.byte(i < value.size() ? static_cast<unsigned char>(value[i]) : 0, kBytes, previous);
    result += static_cast<char>(previous);
  }
  return result;
}

bool is_space_edit(std::string_view text, const SourceEdit& edit) {
  return edit.erased == 1 && text[edit.position] == ' ';
}

std::uint32_t kind_of(char c) {
  if (c >= 'a' && c <= 'z') return 1;
  if (c >= 'A' && c <= 'Z') return 2;
  if (c >= '0' && c <= '9') return 3;
  if (c == '.' || c == '!' || c == '?' || c == ':') return 4;
  if (c == ',' || c == ';') return 5;
  if (c == ' ') return 6;
  return static_cast<unsigned char>(c) >= 128 ? 7 : 8;
}

// What each space becomes. Strings that were seen are numbered, 0 is the space itself.
template <class Coder>
class SpaceCoder {
 public:
  SpaceCoder(DecisionCoder<Coder>& decisions, std::string_view text) : decisions_(decisions), text_(text) {}

  // `wanted` is what the space at `position` becomes; a decoder passes anything.
  std::string code(std::size_t position, const std::string& wanted, std::uint64_t most, bool& fits) {
    const char before = position > 0 ? text_[position - 1] : '\n';
    const char after = position + 1 < text_.size() ? text_[position + 1] : '\n';
    const std::size_t end = std::min(text_.find(' ', position + 1), text_.size());
    const auto column = static_cast<std::uint32_t>(std::min<std::size_t>(position - line_, 255));
    const auto word = static_cast<std::uint32_t>(std::min<std::size_t>(end - position, 31));
    const std::uint32_t last = last_[0], older = last_[1];
    std::size_t number = 0;
    for (; number < known_.size(); ++number) {
      const std::uint32_t set = kReplacement + static_cast<std::uint32_t>(number);
      const Contexts contexts = {
          last * 32 + older,
          column,
          static_cast<std::uint32_t>(static_cast<unsigned char>(before)) << 8 | static_cast<unsigned char>(after),
          (column + word) / 2 * 8 + (column > 40 ? 1u : 0u),
          kind_of(before) << 16 | kind_of(after) << 12 | column / 8,
          kind_of(before) << 16 | kind_of(after) << 12 | last << 6 | (line_length_ / 4)};
      if (decisions_.code(wanted == known_[number], set, contexts)) break;
    }
    std::string result;
    if (number < known_.size()) {
      result = known_[number];
    } else {
      result = code_string(decisions_, wanted, most, fits);
      if (known_.size() < kMostReplacements) known_.push_back(result);
    }
    last_ = {static_cast<std::uint32_t>(std::min<std::size_t>(number, 31)), last};
    if (result.find('\n') != std::string::npos) {
      line_length_ = column;
      line_ = position + 1;
    }
    return result;
  }

 private:
  DecisionCoder<Coder>& decisions_;
  std::string_view text_;
  std::vector<std::string> known_ = {" "};
  std::array<std::uint32_t, 2> last_ = {0, 0};
  std::size_t line_ = 0;  // where the source's line begins
  std::uint32_t line_length_ = 0;
};

}  // namespace

std::vector<std::byte> encode_changes(std::string_view text, std::span<const SourceEdit> edits) {
  if (edits.empty()) return {};
  coder::RangeEncoder encoder;
  DecisionCoder decisions(encoder);
  bool fits = true;
  std::uint64_t listed = 0;
  for (const SourceEdit& edit : edits) listed += !is_space_edit(text, edit);
  decisions.number(listed, kCount);
  std::size_t position = 0;
  for (const SourceEdit& edit : edits) {
    if (is_space_edit(text, edit)) continue;
    decisions.number(edit.position - position, kGap);
    decisions.number(edit.erased, kErased);
    code_string(decisions, edit.inserted, ~std::uint64_t{0}, fits);
    position = edit.position + edit.erased;
  }
  SpaceCoder spaces(decisions, text);
  std::size_t next = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    while (next < edits.size() && edits[next].position + edits[next].erased <= i) ++next;
    const bool inside = next < edits.size() && edits[next].position <= i;
    if (text[i] != ' ') continue;
    if (!inside)
      spaces.code(i, " ", 0, fits);
    else if (is_space_edit(text, edits[next]))
      spaces.code(i, edits[next].inserted, ~std::uint64_t{0}, fits);
  }
  return encoder.finish();
}

Result<std::string> restore_source(std::string_view text, std::span<const std::byte> changes,
                                   std::uint64_t most_bytes) {
  if (changes.empty()) return std::string(text);
  const auto damaged = [] { return bad_data("the coded changes of normalisation are damaged"); };
  coder::RangeDecoder decoder(changes);
  DecisionCoder decisions(decoder);
  bool fits = true;
  std::vector<SourceEdit> listed;
  const std::uint64_t count = decisions.number(0, kCount);
  std::size_t position = 0;
  for (std::uint64_t i = 0; i < count; ++i) {
    SourceEdit edit;
    const std::uint64_t gap = decisions.number(0, kGap), erased = decisions.number(0, kErased);
    if (decoder.exhausted() || gap > text.size() - position || erased > text.size() - position - gap) return damaged();
    edit.position = position + static_cast<std::size_t>(gap);
    edit.erased = static_cast<std::size_t>(erased);
    edit.inserted = code_string(decisions, {}, most_bytes, fits);
    if (!fits) return damaged();
    position = edit.position + edit.erased;
    listed.push_back(std::move(edit));
  }
  SpaceCoder spaces(decisions, text);
  std::string source;
  std::size_t next = 0;
  for (std::size_t i = 0; i <= text.size();) {
    bool erased = false;
    while (next < listed.size() && listed[next].position == i && !erased) {
      source += listed[next].inserted;
      i += listed[next].erased;
      erased = listed[next].erased > 0;
      ++next;
    }
    if (source.size() > most_bytes || !fits || decoder.exhausted()) return damaged();
    if (erased) continue;
    if (i == text.size()) break;
    if (text[i] == ' ')
      source += spaces.code(i, {}, most_bytes, fits);
    else
      source += text[i];
    ++i;
  }
  if (source.size() > most_bytes || !fits || !decoder.at_end()) return damaged();
  return source;
}

}  // namespace par5
