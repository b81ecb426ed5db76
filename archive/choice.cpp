#include "archive/choice.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <map>
#include <mutex>
#include <optional>

#include "archive/chains.h"
#include "archive/coder/bytes.h"
#include "archive/container.h"
#include "core/cancel.h"
#include "core/log.h"
#include "core/parallel.h"
#include "core/progress.h"

namespace par5 {
namespace {

constexpr CodecChoice lzma(int lc, int lp, int pb, bool extreme = true) {
  return {Codec::lzma, static_cast<std::uint8_t>((pb * 5 + lp) * 9 + lc), extreme};
}
constexpr CodecChoice lzma2(int lc, int lp, int pb) { return {Codec::lzma2, lzma(lc, lp, pb).properties}; }

// What a stream of this size takes of the directory: its size and its checksum.
std::uint64_t with_directory(std::uint64_t stored_bytes) {
  ByteWriter size;
  size.varint(stored_bytes);
  return stored_bytes + size.bytes().size() + kStreamChecksumBytes;
}

// One way to store a stream with a byte codec, and what came of it.
struct Candidate {
  std::size_t slot = 0;
  Layout layout = Layout::bytes;
  CodecChoice codec;
  std::vector<std::byte> stored = {};
  std::uint64_t raw_bytes = 0;
  std::uint32_t checksum = 0;
  enum class State { untried, failed, done } state = State::untried;  // only lrzip fails
};

// Smaller wins, then the simpler codec, then the earlier candidate: the choice never depends on threads or time.
bool better(const Candidate& a, const Candidate& b) {
  if (a.stored.size() != b.stored.size()) return a.stored.size() < b.stored.size();
  return a.codec.codec < b.codec.codec;
}

// A chain and what coding it took.
struct Chain {
  ChainKind kind;
  int number = 0;
  std::vector<std::size_t> slots;
  EncodedSlots encoded;
};

// The search for one artifact.
class Search {
 public:
  Search(const Artifact& artifact, const OtherStreams& other, const std::vector<StreamSlot>& slots,
         const std::vector<TensorSpec>& specs, const EncodeOptions& options)
      : artifact_(artifact),
        other_(other),
        slots_(slots),
        specs_(specs),
        options_(options),
        start_(std::chrono::steady_clock::now()),
        best_(slots.size()),
        chain_bytes_(slots.size()) {}

  Result<Choice> run() {
    if (allowed(Codec::own)) P5_OK(code_chains());
    P5_OK(try_byte_codecs());
    P5_OK(settle_chains());
    return collect();
  }

 private:
  bool allowed(Codec codec) const {
    return std::find(options_.codecs.begin(), options_.codecs.end(), codec) != options_.codecs.end();
  }
  bool out_of_time() const {
    return options_.max_seconds &&
           std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count() > *options_.max_seconds;
  }

  // ---- chains ----
  Status code_chains();
  Status code_chain(Chain& chain);
  Status settle_chains();
  // ---- byte codecs ----
  Status try_byte_codecs();
  Status screen(std::vector<bool>& promising);
  std::vector<CodecChoice> first_codecs() const;
  std::vector<CodecChoice> second_codecs(std::size_t slot, std::uint64_t raw_bytes) const;
  std::vector<Layout> layouts(std::size_t slot) const;
  Result<std::vector<std::byte>> bytes_of(std::size_t slot, Layout layout) const;
  Status try_all(std::vector<Candidate>& candidates, const std::string& what);
  Result<Choice> collect();
  void note(const Candidate& candidate);

  const Artifact& artifact_;
  const OtherStreams& other_;
  const std::vector<StreamSlot>& slots_;
  const std::vector<TensorSpec>& specs_;
  const EncodeOptions& options_;
  std::chrono::steady_clock::time_point start_;
  std::vector<Chain> chains_;
  std::vector<std::optional<Candidate>> best_;             // of the byte codecs, by slot
  std::vector<std::optional<std::uint64_t>> chain_bytes_;  // by slot
  std::vector<std::pair<std::size_t, Trial>> trials_;      // with their slots
  bool cut_ = false;
};

// Codes both with covariances and without where the effort allows; a part that neither helps is coded by order-0.
Status Search::code_chain(Chain& chain) {
  if (chain.kind == ChainKind::bytes) {
    std::vector<std::vector<std::byte>> strings;
    for (const std::size_t slot : chain.slots) {
      P5_TRY(strings.emplace_back(), bytes_of(slot, Layout::bytes));
    }
    const std::vector<std::span<const std::byte>> views(strings.begin(), strings.end());
    chain.encoded.bytes = coder::encode_bytes(views, &chain.encoded.slot_bytes);
    return {};
  }
  std::vector<StreamSlot> members;
  for (const std::size_t slot : chain.slots) members.push_back(slots_[slot]);
  const auto covariance = options_.effort >= 8 ? coder::Covariance::automatic : coder::Covariance::on;
  P5_TRY(chain.encoded, encode_chain(artifact_.model, members, {covariance, {}}));
  return {};
}

Status Search::code_chains() {
  std::map<std::pair<ChainKind, int>, Chain> by_number;
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    const ChainKind kind = chain_kind(slots_[i], specs_);
    const int number = usual_chain(slots_[i], artifact_.model);
    Chain& chain = by_number[{kind, number}];
    chain.kind = kind;
    chain.number = number;
    chain.slots.push_back(i);
  }
  for (auto& [number, chain] : by_number) chains_.push_back(std::move(chain));
  std::vector<std::size_t> order(chains_.size());
  std::vector<std::int64_t> values(chains_.size(), 0);
  for (std::size_t i = 0; i < chains_.size(); ++i) {
    order[i] = i;
    for (const std::size_t slot : chains_[i].slots) values[i] += element_count(slots_[slot].shape);
  }
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return values[a] > values[b]; });
  std::vector<Status> results(chains_.size());
  Progress progress("packing, own coder", chains_.size(), "chains");
  std::mutex mutex;
  std::uint64_t done = 0;
  parallel_for(order.size(), options_.threads, [&](std::size_t i) {
    results[order[i]] = cancelled() ? Status(interrupted()) : code_chain(chains_[order[i]]);
    const std::lock_guard lock(mutex);
    progress.update(++done);
  });
  for (const Status& result : results) P5_OK(result);
  for (const Chain& chain : chains_)
    for (std::size_t k = 0; k < chain.slots.size(); ++k) {
      chain_bytes_[chain.slots[k]] = chain.encoded.slot_bytes[k];
      trials_.push_back({chain.slots[k],
                         {slots_[chain.slots[k]].name, "chain" + std::to_string(chain.number),
                          std::string(codec_name(Codec::own)), chain.encoded.slot_bytes[k]}});
    }
  return {};
}

// Takes out of the chains what a byte codec stores smaller. What is left is coded again and may cost a little more,
// so this goes on until nothing moves; every round but the last takes something out.
Status Search::settle_chains() {
  for (bool moved = true; moved;) {
    moved = false;
    std::vector<Chain*> changed;
    for (Chain& chain : chains_) {
      std::vector<std::size_t> kept;
      for (std::size_t k = 0; k < chain.slots.size(); ++k) {
        const std::size_t slot = chain.slots[k];
        const std::uint64_t bytes = chain.encoded.slot_bytes[k];
        if (!best_[slot] ||
            (chain.slots.size() == 1 ? with_directory(bytes) : bytes) <= with_directory(best_[slot]->stored.size()))
          kept.push_back(slot);
      }
      if (kept.size() == chain.slots.size()) continue;
      chain.slots = std::move(kept);
      if (!chain.slots.empty()) changed.push_back(&chain);
    }
    std::vector<Status> results(changed.size());
    parallel_for(changed.size(), options_.threads,
                 [&](std::size_t i) { results[i] = cancelled() ? Status(interrupted()) : code_chain(*changed[i]); });
    for (const Status& result : results) P5_OK(result);
    moved = !changed.empty();
  }
  std::erase_if(chains_, [](const Chain& chain) { return chain.slots.empty(); });
  return {};
}

// ---- byte codecs ----

// Streams of at most this many values are tried with everything at once.
constexpr std::int64_t kSmallStream = 1 << 12;
constexpr std::size_t kShortRun = 1 << 16;  // bytes

// Trained tensors nearly always come out smallest in a chain. A byte codec wins where bytes repeat, which a quick one
// shows too: by effort, how much larger than in its chain a stream may be after zstd's quickest to be tried in full.
double tolerance(int effort) { return effort <= 2 ? 1.0 : effort <= 5 ? 1.05 : effort <= 7 ? 1.2 : 2.0; }

Status Search::screen(std::vector<bool>& promising) {
  std::vector<Status> results(slots_.size());
  parallel_for(slots_.size(), options_.threads, [&](std::size_t i) {
    results[i] = [&]() -> Status {
      promising[i] = true;
      if (!chain_bytes_[i] || options_.effort >= 9 || element_count(slots_[i].shape) <= kSmallStream) return {};
      std::uint64_t least = UINT64_MAX;
      for (const Layout layout : layouts_of(slots_[i], &specs_[slots_[i].tensor], artifact_.model.quantizer)) {
        if (layout != Layout::bytes && layout != Layout::bytes_t) continue;
        if (cancelled()) return interrupted();
        P5_TRY(const auto raw, bytes_of(i, layout));
        P5_TRY(const auto stored, codec_detail::compress_zstd(raw, 1));
        least = std::min<std::uint64_t>(least, stored.size());
      }
      promising[i] = static_cast<double>(least) <= tolerance(options_.effort) * static_cast<double>(*chain_bytes_[i]);
      return {};
    }();
  });
  for (const Status& result : results) P5_OK(result);
  return {};
}

// The amount of work: LZMA on all layouts (below effort 7 not on a whole byte per weight where denser layouts exist);
// from 3 on brotli joins on the two layouts that LZMA made smallest, and on short streams everything; from 7 on
// everything is tried on every layout.
std::vector<CodecChoice> Search::first_codecs() const {
  std::vector<CodecChoice> choices = {{Codec::raw, 0}};
  if (allowed(Codec::lzma))
    choices.push_back(lzma(0, 0, 0));
  else if (allowed(Codec::zstd))
    choices.push_back({Codec::zstd, 0});
  else if (allowed(Codec::brotli))
    choices.push_back({Codec::brotli, 0});
  else if (allowed(Codec::lzma2))
    choices.push_back(lzma2(0, 0, 0));
  else if (allowed(Codec::lrzip))
    choices.push_back({Codec::lrzip, 0});
  return choices;
}

std::vector<CodecChoice> Search::second_codecs(std::size_t slot, std::uint64_t raw_bytes) const {
  if (options_.effort < 3) return {};
  std::vector<CodecChoice> choices = {{Codec::brotli, 0}, {Codec::lrzip, 0}};
  if (options_.effort >= 7 || raw_bytes <= kShortRun || slots_[slot].part == Part::tokenizer) {
    choices.push_back({Codec::zstd, 0});
    for (const auto& [lc, lp, pb] : {std::array{3, 0, 0}, std::array{0, 1, 1}}) choices.push_back(lzma(lc, lp, pb));
  }
  if (options_.effort >= 7)
    for (const auto& [lc, lp, pb] : {std::array{1, 0, 0}, std::array{2, 0, 0}, std::array{4, 0, 0}, std::array{0, 2, 2},
                                     std::array{3, 0, 2}, std::array{3, 1, 1}})
      choices.push_back(lzma(lc, lp, pb));
  if (options_.effort >= 9) {
    choices.push_back(lzma(3, 0, 2, false));  // what `xz -9` does
    // No stream of a model has been seen that LZMA2 stores smaller than the others do (docs/sizes.md).
    for (const auto& [lc, lp, pb] : {std::array{0, 0, 0}, std::array{3, 0, 0}}) choices.push_back(lzma2(lc, lp, pb));
  }
  std::erase_if(choices, [&](const CodecChoice& choice) {
    const auto first = first_codecs();
    return !allowed(choice.codec) || std::any_of(first.begin(), first.end(), [&](const CodecChoice& tried) {
      return tried.codec == choice.codec && tried.codec != Codec::lzma && tried.codec != Codec::lzma2;
    });
  });
  return choices;
}

std::vector<Layout> Search::layouts(std::size_t slot) const {
  auto layouts = layouts_of(slots_[slot], &specs_[slots_[slot].tensor], artifact_.model.quantizer);
  const Grid grid = artifact_.model.quantizer.grid;
  const bool denser = grid == Grid::binary || grid == Grid::ternary || grid == Grid::quinary;
  if (options_.effort < 7 && denser && slots_[slot].part == Part::codes &&
      element_count(slots_[slot].shape) > static_cast<std::int64_t>(kShortRun))
    std::erase_if(layouts, [](Layout layout) { return layout == Layout::bytes || layout == Layout::bytes_t; });
  return layouts;
}

Result<std::vector<std::byte>> Search::bytes_of(std::size_t slot, Layout layout) const {
  if (slots_[slot].part == Part::tokenizer) return other_.tokenizer;
  if (slots_[slot].part == Part::self_test) return other_.self_test;
  P5_TRY(const auto laid_out, lay_out(artifact_.model.tensors[slots_[slot].tensor], slots_[slot], layout));
  const auto bytes = std::as_bytes(std::span(laid_out));
  return std::vector<std::byte>(bytes.begin(), bytes.end());
}

// Runs the candidates in parallel. Only the best of each stream keep their bytes.
Status Search::try_all(std::vector<Candidate>& candidates, const std::string& what) {
  std::vector<Status> results(candidates.size());
  Progress progress(what, candidates.size(), "candidates");
  std::mutex mutex;
  std::uint64_t done = 0, failures = 0;
  std::string failure;
  parallel_for(candidates.size(), options_.threads, [&](std::size_t i) {
    results[i] = [&]() -> Status {
      if (cancelled()) return interrupted();
      Candidate& candidate = candidates[i];
      if (candidate.codec.codec != Codec::raw && out_of_time()) return {};
      P5_TRY(const auto raw, bytes_of(candidate.slot, candidate.layout));
      auto stored = compress(candidate.codec, raw);
      if (!stored && stored.error().code == ErrorCode::bad_data) {  // lrzip's result was not believed
        candidate.state = Candidate::State::failed;
        const std::lock_guard lock(mutex);
        if (failures++ == 0) failure = stored.error().message;
        return {};
      }
      P5_TRY(candidate.stored, std::move(stored));
      candidate.raw_bytes = raw.size();
      candidate.checksum = short_checksum(raw);
      candidate.state = Candidate::State::done;
      return {};
    }();
    const std::lock_guard lock(mutex);
    progress.update(++done);
  });
  for (const Status& result : results) P5_OK(result);
  if (failures > 0)
    log_warning("lrzip was of no use in " + std::to_string(failures) + " trials; in the first of them: " + failure);
  for (const Candidate& candidate : candidates) note(candidate);
  return {};
}

void Search::note(const Candidate& candidate) {
  if (candidate.state != Candidate::State::done) {
    cut_ = cut_ || candidate.state == Candidate::State::untried;
    return;
  }
  trials_.push_back({candidate.slot,
                     {slots_[candidate.slot].name, std::string(layout_name(candidate.layout)),
                      to_string(candidate.codec), candidate.stored.size()}});
  auto& best = best_[candidate.slot];
  if (!best || better(candidate, *best)) best = candidate;
}

Status Search::try_byte_codecs() {
  std::vector<bool> promising(slots_.size(), true);
  if (options_.effort == 0 && allowed(Codec::own)) {
    for (std::size_t i = 0; i < slots_.size(); ++i) promising[i] = chain_kind(slots_[i], specs_) == ChainKind::bytes;
  } else {
    P5_OK(screen(promising));
  }
  std::vector<Candidate> first;
  for (std::size_t i = 0; i < slots_.size(); ++i)
    if (promising[i])
      for (const Layout layout : layouts(i))
        for (const CodecChoice choice : first_codecs()) first.push_back({i, layout, choice});
  P5_OK(try_all(first, "packing, first round"));

  std::vector<std::vector<const Candidate*>> by_slot(slots_.size());
  for (const Candidate& candidate : first)
    if (candidate.codec.codec != Codec::raw && candidate.state == Candidate::State::done)
      by_slot[candidate.slot].push_back(&candidate);
  std::vector<Candidate> second;
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    std::stable_sort(by_slot[i].begin(), by_slot[i].end(),
                     [](const Candidate* a, const Candidate* b) { return better(*a, *b); });
    if (options_.effort < 7 && by_slot[i].size() > 2) by_slot[i].resize(2);
    for (const Candidate* candidate : by_slot[i])
      for (const CodecChoice choice : second_codecs(i, candidate->raw_bytes))
        second.push_back({i, candidate->layout, choice});
  }
  return try_all(second, "packing, second round");
}

Result<Choice> Search::collect() {
  Choice choice;
  choice.cut = cut_;
  std::stable_sort(trials_.begin(), trials_.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  for (auto& [slot, trial] : trials_) choice.trials.push_back(std::move(trial));
  std::vector<bool> in_chain(slots_.size(), false);
  for (Chain& chain : chains_) {
    ChosenEntry entry;
    entry.slots = chain.slots;
    entry.codec = Codec::own;
    entry.chain = chain.number;
    std::vector<std::byte> raw;
    for (const std::size_t slot : chain.slots) {
      in_chain[slot] = true;
      P5_TRY(const auto bytes, bytes_of(slot, Layout::bytes));
      raw.insert(raw.end(), bytes.begin(), bytes.end());
    }
    entry.raw_bytes = raw.size();
    entry.checksum = short_checksum(raw);
    entry.stored = std::move(chain.encoded.bytes);
    choice.entries.push_back(std::move(entry));
  }
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    if (in_chain[i]) continue;
    if (!best_[i]) return internal_error("nothing was tried for the " + slots_[i].name);
    Candidate& best = *best_[i];
    choice.entries.push_back(
        {{i}, best.codec.codec, best.layout, 0, std::move(best.stored), best.raw_bytes, best.checksum});
  }
  std::stable_sort(choice.entries.begin(), choice.entries.end(),
                   [](const ChosenEntry& a, const ChosenEntry& b) { return a.slots[0] < b.slots[0]; });
  return choice;
}

}  // namespace

Result<Choice> choose_entries(const Artifact& artifact, const OtherStreams& other, const std::vector<StreamSlot>& slots,
                              const std::vector<TensorSpec>& specs, const EncodeOptions& options) {
  return Search(artifact, other, slots, specs, options).run();
}

}  // namespace par5
