#include "tokenizer/claims.h"

#include <algorithm>
#include <map>
#include <span>
#include <unordered_map>

#include "core/hash.h"
#include "core/text.h"

namespace par5 {
namespace {

using Tokens = std::vector<std::uint16_t>;

constexpr std::size_t kLongestTail = 16384;  // tokens of the end that a count may have left out or taken twice

std::string number(std::uint64_t value) { return grouped(static_cast<std::int64_t>(value)); }
std::int64_t integer(std::uint64_t value) { return static_cast<std::int64_t>(value); }

// UTF-8 bytes of private-use characters (U+E000 to U+F8FF: EE 80 80 to EF A3 BF).
std::uint32_t private_use_bytes(std::string_view text) {
  std::uint32_t bytes = 0;
  for (std::size_t i = 0; i + 2 < text.size(); ++i) {
    const auto first = static_cast<unsigned char>(text[i]), second = static_cast<unsigned char>(text[i + 1]);
    if (first == 0xee || (first == 0xef && second < 0xa4)) bytes += 3;
  }
  return bytes;
}

std::string without_case(std::string text) {
  for (char& c : text)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return text;
}

struct Sentence {
  const char* id;
  const char* text;
};
constexpr Sentence kSentences[] = {
    {"leading_space_twice", "the leading space is counted twice"},
    {"leading_space_as_mark", "the leading space is charged as the 3 bytes of its mark"},
    {"leading_space_not_charged", "the leading space is not charged"},
    {"byte_fallback_as_3", "byte-fallback pieces are charged 3 bytes, as U+FFFD"},
    {"byte_fallback_as_6", "byte-fallback pieces are charged 6 bytes, as \"<0x..>\""},
    {"byte_fallback_not_charged", "byte-fallback pieces are not charged"},
    {"sentinels_charged", "sentinel characters are charged as text"},
    {"control_charged", "control pieces are charged as text"},
    {"other_bytes", "pieces are charged otherwise"},
};
std::string sentence_of(const std::string& id) {
  for (const Sentence& sentence : kSentences)
    if (id == sentence.id) return sentence.text;
  return id;
}

// What each piece is charged rightly, and what a wrong charge of it means.
class Rule {
 public:
  explicit Rule(const Tokenizer& tokenizer) : tokenizer_(tokenizer) {
    for (const TokenizerPiece& piece : tokenizer.data().pieces)
      sentinels_.push_back(piece.type == 1 || piece.type == 4 ? private_use_bytes(piece.piece) : 0);
  }
  const Tokenizer& tokenizer() const { return tokenizer_; }
  std::uint32_t sentinel_bytes(std::uint16_t token) const { return sentinels_[token]; }
  bool is_byte(std::uint16_t token) const { return piece(token).type == 6; }
  bool is_control(std::uint16_t token) const { return tokenizer_.bytes().boundary[token] != 0; }
  bool has_space(std::uint16_t token) const { return tokenizer_.bytes().leading_space[token] != 0; }
  std::int64_t base(std::uint16_t token) const {
    return tokenizer_.bytes().bytes[token] - std::int64_t{sentinels_[token]};
  }
  std::int64_t charge(std::uint16_t previous, std::uint16_t token) const {
    return tokenizer_.bytes().charge(previous, token) - std::int64_t{sentinels_[token]};
  }
  const TokenizerPiece& piece(std::uint16_t token) const { return tokenizer_.data().pieces[token]; }

  // The fault that charges `too_many` bytes too many for a token.
  std::string fault(std::uint16_t token, std::int64_t too_many) const {
    if (is_byte(token))
      return too_many == 2    ? "byte_fallback_as_3"
             : too_many == 5  ? "byte_fallback_as_6"
             : too_many == -1 ? "byte_fallback_not_charged"
                              : "other_bytes";
    if (is_control(token)) return "control_charged";
    if (sentinels_[token] > 0 && too_many == std::int64_t{sentinels_[token]}) return "sentinels_charged";
    if (!has_space(token)) return "other_bytes";
    return too_many == 1                    ? "leading_space_twice"
           : too_many == 2 || too_many == 3 ? "leading_space_as_mark"
           : too_many == -1                 ? "leading_space_not_charged"
                                            : "other_bytes";
  }

 private:
  const Tokenizer& tokenizer_;
  std::vector<std::uint32_t> sentinels_;
};

// Charges that are not right, by fault.
class Differences {
 public:
  void add(const std::string& fault, std::int64_t too_many, const std::string& piece) {
    Sum& sum = sums_[fault];
    ++sum.tokens;
    sum.bytes += too_many;
    if (sum.example.empty()) sum.example = piece;
  }
  void add_piece(const std::string& fault, const std::string& piece) {
    Sum& sum = sums_[fault];
    ++sum.pieces;
    if (sum.example.empty()) sum.example = piece;
  }
  void report(std::uint64_t right_bytes, std::vector<ClaimFault>& faults) const {
    for (const auto& [id, sum] : sums_) {
      const double share =
          right_bytes > 0 ? 100.0 * static_cast<double>(sum.bytes) / static_cast<double>(right_bytes) : 0;
      faults.push_back({id,
                        sentence_of(id) + ": " + (sum.pieces > 0 ? number(sum.pieces) + " pieces, " : "") +
                            number(sum.tokens) + " tokens of the text, " + (sum.bytes < 0 ? "" : "+") +
                            grouped(sum.bytes) + " bytes (" + (sum.bytes < 0 ? "" : "+") + fixed(share, 2) +
                            " %); the first is " + quoted(sum.example),
                        sum.bytes});
    }
  }

 private:
  struct Sum {
    std::uint64_t pieces = 0, tokens = 0;
    std::int64_t bytes = 0;
    std::string example;
  };
  std::map<std::string, Sum> sums_;
};

// Somebody's tokens against the text's, document by document.
class TokenComparison {
 public:
  TokenComparison(const Rule& rule, const Tokens& theirs) : rule_(rule), theirs_(theirs) {
    const std::uint16_t bos = rule.tokenizer().bos().value_or(0);
    for (std::size_t i = 0; i < theirs.size(); ++i)
      if (theirs[i] == bos || i == 0) starts_.push_back(i);
    for (std::size_t d = 0; d < starts_.size(); ++d) by_hash_.emplace(hash_of(document(d)), d);
    met_.resize(starts_.size(), false);
  }

  Status add(const Tokens& ours) {
    const std::size_t number = documents_++;
    last_.insert(last_.end(), ours.begin(), ours.end());
    if (last_.size() > 2 * kLongestTail)
      last_.erase(last_.begin(), last_.end() - static_cast<std::ptrdiff_t>(kLongestTail));
    if (number < starts_.size() && same(document(number), ours)) {
      met_[number] = true;
      return {};
    }
    const auto [first, end] = by_hash_.equal_range(hash_of(ours));
    for (auto found = first; found != end; ++found)
      if (!met_[found->second] && same(document(found->second), ours)) {
        met_[found->second] = true;  // in another order
        return {};
      }
    if (number >= starts_.size()) {
      missing_tokens_ += ours.size();
      return {};
    }
    return compare(number, ours);
  }

  void report(std::vector<ClaimFault>& faults) {
    if (starts_.size() != documents_)
      faults.push_back(
          {"documents", "the shards hold " + number(starts_.size()) + " documents, the text " + number(documents_)});
    if (dropped_ > 0)
      faults.push_back({"tail_dropped",
                        "the shards end " + number(dropped_ + missing_tokens_) + " tokens before the text does",
                        -dropped_bytes_});
    else if (missing_tokens_ > 0)
      faults.push_back({"tail_dropped", "the shards lack the last " + number(missing_tokens_) + " tokens"});
    if (repeated_ > 0)
      faults.push_back(
          {"tail_duplicated", "the shards repeat the last " + number(repeated_) + " tokens", repeated_bytes_});
    std::uint64_t extra = 0;
    for (std::size_t d = documents_; d < starts_.size(); ++d) extra += document(d).size();
    if (extra > 0) {
      const bool repeats =
          extra <= last_.size() && std::equal(theirs_.end() - static_cast<std::ptrdiff_t>(extra), theirs_.end(),
                                              last_.end() - static_cast<std::ptrdiff_t>(extra));
      if (repeats) faults.push_back({"tail_duplicated", "the shards repeat the last " + number(extra) + " tokens"});
    }
    if (folded_ > 0)
      faults.push_back({"case_folded", number(folded_) + " documents of the shards are the text in lower case"});
    if (changed_ > 0)
      faults.push_back({"text_differs", number(changed_) + " documents of the shards are another text: " + example_});
  }

 private:
  std::span<const std::uint16_t> document(std::size_t d) const {
    const std::size_t end = d + 1 < starts_.size() ? starts_[d + 1] : theirs_.size();
    return std::span(theirs_).subspan(starts_[d], end - starts_[d]);
  }
  static bool same(std::span<const std::uint16_t> a, const Tokens& b) {
    return std::equal(a.begin(), a.end(), b.begin(), b.end());
  }
  static std::uint64_t hash_of(std::span<const std::uint16_t> tokens) { return xxh3_64(std::as_bytes(tokens)); }

  Status compare(std::size_t d, const Tokens& ours) {
    const std::span<const std::uint16_t> theirs = document(d);
    met_[d] = true;
    const bool last = d + 1 == starts_.size();
    const std::size_t common = static_cast<std::size_t>(
        std::mismatch(theirs.begin(), theirs.end(), ours.begin(), ours.end()).first - theirs.begin());
    if (last && common == theirs.size()) {
      for (std::size_t t = std::max<std::size_t>(common, 1); t < ours.size(); ++t)
        dropped_bytes_ += rule_.charge(ours[t - 1], ours[t]);
      dropped_ = ours.size() - common;
      return {};
    }
    if (last && common == ours.size()) {
      const auto extra = theirs.subspan(common);
      if (extra.size() <= last_.size() &&
          std::equal(extra.begin(), extra.end(), last_.end() - static_cast<std::ptrdiff_t>(extra.size()))) {
        repeated_ = extra.size();
        for (std::size_t t = common; t < theirs.size(); ++t) repeated_bytes_ += rule_.charge(theirs[t - 1], theirs[t]);
        return {};
      }
    }
    P5_TRY(const std::string decoded, rule_.tokenizer().decode(theirs));
    P5_TRY(const std::string text, rule_.tokenizer().decode(ours));
    if (decoded == text) return {};  // cut into other tokens
    if (decoded == without_case(text)) {
      ++folded_;
    } else if (++changed_ == 1) {
      const auto at = std::mismatch(decoded.begin(), decoded.end(), text.begin(), text.end()).first - decoded.begin();
      example_ = "document " + std::to_string(d) + " differs at byte " + std::to_string(at);
    }
    return {};
  }

  const Rule& rule_;
  const Tokens& theirs_;
  std::vector<std::size_t> starts_;
  std::unordered_multimap<std::uint64_t, std::size_t> by_hash_;
  std::vector<bool> met_;
  Tokens last_;  // of the text
  std::size_t documents_ = 0;
  std::uint64_t folded_ = 0, changed_ = 0, missing_tokens_ = 0, dropped_ = 0, repeated_ = 0;
  std::int64_t dropped_bytes_ = 0, repeated_bytes_ = 0;
  std::string example_;
};

}  // namespace

struct ClaimCheck::State {
  State(const Tokenizer& tokenizer, TextClaim the_claim) : rule(tokenizer), claim(std::move(the_claim)) {
    if (claim.pieces) judge_pieces();
    if (claim.tokens) comparison.emplace(rule, *claim.tokens);
  }

  const Rule rule;
  const TextClaim claim;
  Differences differences;
  std::optional<TokenComparison> comparison;
  ChargedCounts all, scored;
  std::vector<ChargedCounts> recent;  // behind each of the last tokens: a ring, indexed by all.tokens
  std::uint16_t previous = 0;
  bool whole_pieces = true;  // the table's bytes hold the leading space
  std::uint64_t documents = 0, source_bytes = 0, folded_letters = 0;
  std::map<std::string, std::pair<std::uint64_t, std::int64_t>> account_faults;  // id: documents, bytes too many
  std::map<std::string, std::string> account_texts;

  std::int64_t table_charge(std::uint16_t before, std::uint16_t token) const {
    const PieceCharges& pieces = *claim.pieces;
    const bool at_start = rule.is_control(before);
    std::int64_t bytes = pieces.bytes[token];
    if (!pieces.leading_space.empty()) return bytes + (pieces.leading_space[token] && !at_start);
    // A table of whole pieces knows nothing of starts: its space is taken off there.
    if (rule.has_space(token) && !rule.is_control(token))
      bytes += whole_pieces ? -std::int64_t{at_start} : std::int64_t{!at_start};
    return bytes;
  }

  void judge_pieces() {
    const PieceCharges& pieces = *claim.pieces;
    std::uint64_t with = 0, without = 0;
    for (std::size_t id = 0; id < pieces.bytes.size(); ++id)
      if (const auto token = static_cast<std::uint16_t>(id); rule.has_space(token))
        ++(pieces.bytes[id] > rule.base(token) ? with : without);
    whole_pieces = with >= without;
    // Not behind a boundary: some piece that is none.
    std::uint16_t inside = 0;
    while (inside + 1u < pieces.bytes.size() && rule.is_control(inside)) ++inside;
    for (std::size_t id = 0; id < pieces.bytes.size(); ++id) {
      const auto token = static_cast<std::uint16_t>(id);
      const std::int64_t too_many = table_charge(inside, token) - rule.charge(inside, token);
      if (too_many != 0) differences.add_piece(rule.fault(token, too_many), rule.piece(token).piece);
    }
  }

  void count(std::uint16_t token) {
    const bool first = all.tokens == 0;
    ++all.tokens;
    if (!first) {
      all.bytes += static_cast<std::uint64_t>(rule.charge(previous, token));
      all.spaces += rule.has_space(token) && !rule.is_control(previous);
      all.byte_pieces += rule.is_byte(token);
      all.sentinel_bytes += rule.sentinel_bytes(token);
      if (rule.is_control(token)) all.control_bytes += rule.piece(token).piece.size();
      if (in_slice()) {
        if (claim.pieces) note_difference(token, table_charge(previous, token));
        if (claim.token_bytes && all.tokens <= claim.token_bytes->size())
          note_difference(token, (*claim.token_bytes)[all.tokens - 1]);
      }
    }
    if (in_slice()) scored = all;
    if (recent.size() < kLongestTail)
      recent.push_back(all);
    else
      recent[(all.tokens - 1) % kLongestTail] = all;
    previous = token;
  }
  // The slice ends with the claimed targets, else with the claimed documents.
  bool in_slice() const {
    return claim.targets ? all.tokens <= *claim.targets + 1 : !claim.documents || documents <= *claim.documents;
  }
  void note_difference(std::uint16_t token, std::int64_t theirs) {
    const std::int64_t too_many = theirs - rule.charge(previous, token);
    if (too_many != 0) differences.add(rule.fault(token, too_many), too_many, rule.piece(token).piece);
  }

  // The counts behind the token that stands `back` from the end.
  const ChargedCounts& counts_before(std::uint64_t back) const {
    return recent[(all.tokens - 1 - back) % kLongestTail];
  }

  void judge_counts(std::vector<ClaimFault>& faults) const {
    if (claim.documents && *claim.documents != documents)
      faults.push_back(
          {"documents", number(*claim.documents) + " documents are claimed, the text has " + number(documents)});
    if (claim.token_bytes) judge_length(claim.token_bytes->size(), faults);
    if (claim.targets) judge_length(*claim.targets + 1, faults);
  }
  // Of a count of tokens with the first BOS.
  void judge_length(std::uint64_t tokens, std::vector<ClaimFault>& faults) const {
    if (tokens == all.tokens || tokens == all.tokens + 1) return;  // the first BOS may have been counted as a target
    if (tokens > all.tokens) {
      faults.push_back(
          {"tail_duplicated", number(tokens - all.tokens) + " targets more than the text has: some are counted twice"});
      return;
    }
    std::string window;
    for (std::uint64_t w = kLongestTail; w >= 64 && window.empty(); w /= 2)
      if (tokens - 1 == (all.tokens - 1) / w * w) window = ": what a multiple of " + number(w) + " leaves over";
    faults.push_back({"tail_dropped", number(all.tokens - tokens) + " targets of the tail are left out" + window});
  }

  void judge_bytes(std::vector<ClaimFault>& faults) const {
    if (!claim.bytes) return;
    const std::uint64_t claimed = *claim.bytes;
    if (claimed == scored.bytes || explained(claimed, scored, "", faults)) return;
    if (claimed == source_bytes) {
      faults.push_back({"source_bytes",
                        number(claimed) + " are the bytes of the raw source, not of the normalised text that is scored",
                        integer(claimed) - integer(scored.bytes)});
      return;
    }
    // The tail left out to a multiple of a usual window, or to any length; or taken twice.
    const auto longest = std::min<std::uint64_t>(all.tokens - 1, kLongestTail - 1);
    if (!claim.targets) {
      std::vector<std::pair<std::uint64_t, std::string>> cuts;  // what a usual window leaves over
      for (std::uint64_t w = kLongestTail; w >= 64; w /= 2)
        if (const std::uint64_t back = (all.tokens - 1) % w; back > 0 && back <= longest)
          cuts.emplace_back(back, "the last " + number(back) + " targets, which a multiple of " + number(w) +
                                      " leaves over, are left out");
      const auto dropped = [&](std::uint64_t back, const std::string& text) {
        faults.push_back({"tail_dropped", text, integer(counts_before(back).bytes) - integer(all.bytes)});
      };
      for (const auto& [back, text] : cuts)
        if (claimed == counts_before(back).bytes) return dropped(back, text);
      for (std::uint64_t back = 1; back <= longest; ++back) {
        if (claimed == counts_before(back).bytes)
          return dropped(back, "as if the last " + number(back) + " targets were left out");
        if (claimed == 2 * all.bytes - counts_before(back).bytes)
          return faults.push_back({"tail_duplicated", "as if the last " + number(back) + " targets were counted twice",
                                   integer(claimed) - integer(all.bytes)});
      }
      for (const auto& [back, text] : cuts)
        if (explained(claimed, counts_before(back), "tail_dropped", faults)) return dropped(back, text);
    }
    const double share =
        100 * (static_cast<double>(claimed) / static_cast<double>(std::max<std::uint64_t>(scored.bytes, 1)) - 1);
    faults.push_back({"other_bytes",
                      number(claimed) + " bytes are claimed, the text is charged " + number(scored.bytes) + " (" +
                          (share < 0 ? "" : "+") + fixed(share, 3) + " %); no known fault gives this sum",
                      integer(claimed) - integer(scored.bytes)});
  }

  // Whether faults of charging, one or several, make exactly the claimed sum out of the right one; the fewest are
  // reported.
  bool explained(std::uint64_t claimed, const ChargedCounts& counts, const std::string& beside,
                 std::vector<ClaimFault>& faults) const {
    struct Change {
      const char* id;
      std::int64_t bytes;
    };
    const std::vector<std::vector<Change>> groups = {{{"leading_space_twice", integer(counts.spaces)},
                                                      {"leading_space_as_mark", 2 * integer(counts.spaces)},
                                                      {"leading_space_not_charged", -integer(counts.spaces)}},
                                                     {{"byte_fallback_as_3", 2 * integer(counts.byte_pieces)},
                                                      {"byte_fallback_as_6", 5 * integer(counts.byte_pieces)},
                                                      {"byte_fallback_not_charged", -integer(counts.byte_pieces)}},
                                                     {{"sentinels_charged", integer(counts.sentinel_bytes)}},
                                                     {{"control_charged", integer(counts.control_bytes)}}};
    const std::int64_t wanted = integer(claimed) - integer(counts.bytes);
    std::vector<Change> chosen, best;
    const auto search = [&](const auto& self, std::size_t group, std::int64_t sum) -> void {
      if (group == groups.size()) {
        if (sum == wanted && !chosen.empty() && (best.empty() || chosen.size() < best.size())) best = chosen;
        return;
      }
      self(self, group + 1, sum);
      for (const Change& change : groups[group]) {
        if (change.bytes == 0) continue;
        chosen.push_back(change);
        self(self, group + 1, sum + change.bytes);
        chosen.pop_back();
      }
    };
    search(search, 0, 0);
    // With the tail cut as well, only what needs one more fault is believed.
    if (best.empty() || (!beside.empty() && best.size() > 1)) return false;
    for (const Change& change : best)
      faults.push_back({change.id,
                        sentence_of(change.id) + ": that makes the claimed " + number(claimed) + " bytes out of " +
                            number(counts.bytes),
                        change.bytes});
    return true;
  }
};

ClaimCheck::ClaimCheck(const Tokenizer& tokenizer, TextClaim claim)
    : state_(std::make_unique<State>(tokenizer, std::move(claim))) {}
ClaimCheck::~ClaimCheck() = default;
const ChargedCounts& ClaimCheck::scored() const { return state_->scored; }

Status ClaimCheck::add(const DocumentAccount& document) {
  State& state = *state_;
  ++state.documents;
  state.source_bytes += document.source_bytes;
  state.folded_letters += document.folded_letters;
  if (!document.fault.empty()) {
    auto& [documents, bytes] = state.account_faults[document.fault_id];
    ++documents;
    bytes += integer(document.charged_bytes) - integer(document.normalized_bytes);
    state.account_texts.emplace(document.fault_id, document.fault);
  }
  for (const std::uint16_t token : document.tokens) state.count(token);
  return state.comparison ? state.comparison->add(document.tokens) : Status();
}

std::vector<ClaimFault> ClaimCheck::finish() {
  State& state = *state_;
  std::vector<ClaimFault> faults;
  for (const auto& [id, sums] : state.account_faults)
    faults.push_back({id, number(sums.first) + " documents: " + state.account_texts[id], sums.second});
  if (state.folded_letters > 0)
    faults.push_back({"case_folded", "the normaliser folds case: " + number(state.folded_letters) +
                                         " capital letters of the source are lost, so the scored text is another one"});
  const bool others_charge = state.claim.pieces || state.claim.token_bytes || state.claim.bytes;
  if (state.scored.sentinel_bytes > 0 && !others_charge)
    faults.push_back({"sentinels_charged",
                      "pieces hold private-use characters: " + number(state.scored.sentinel_bytes) +
                          " of the charged bytes are theirs, and not of the text if they stand for something else",
                      integer(state.scored.sentinel_bytes)});
  state.differences.report(state.scored.bytes, faults);
  if (state.comparison) state.comparison->report(faults);
  state.judge_counts(faults);
  state.judge_bytes(faults);
  return faults;
}

}  // namespace par5
