#include "eval/ledger_file.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "core/log.h"

namespace par5 {
namespace {

constexpr std::string_view kSnapshotMagic = "P5LEDSN1";

std::string_view text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// The first field in which two declarations differ.
std::string difference(const LedgerDeclaration& recorded, const LedgerDeclaration& wanted) {
  const auto was = nlohmann::ordered_json::parse(declaration_body(recorded));
  const auto is = nlohmann::ordered_json::parse(declaration_body(wanted));
  for (const auto& [key, value] : was.items())
    if (value != is.at(key)) return key + " was " + value.dump() + " and is now " + is.at(key).dump();
  return "";
}

std::string snapshot_path(const std::string& ledger) { return ledger + ".snapshot"; }

struct Snapshot {
  std::uint64_t offset = 0;  // end of the last record when it was made
  std::string link;          // that record's
  std::string pending;       // a block's body
  std::optional<std::vector<std::byte>> state;
};

std::string snapshot_bytes(const Snapshot& snapshot) {
  std::string bytes(kSnapshotMagic);
  const auto number = [&bytes](std::uint64_t value) {
    for (int i = 0; i < 8; ++i) bytes += static_cast<char>(value >> (8 * i) & 0xff);
  };
  number(snapshot.offset);
  bytes += snapshot.link;
  number(snapshot.pending.size());
  bytes += snapshot.pending;
  number(snapshot.state ? snapshot.state->size() + 1 : 0);
  if (snapshot.state) bytes += text_of(*snapshot.state);
  return bytes += text_of(sha256(bytes));
}

// Nothing where there is no whole snapshot.
std::optional<Snapshot> read_snapshot(const std::string& path) {
  constexpr std::size_t kHash = sizeof(Digest);
  const auto file = read_file(path);
  if (!file) return std::nullopt;
  std::string_view rest = text_of(*file);
  if (rest.size() < kSnapshotMagic.size() + 24 + 2 * kHash || !rest.starts_with(kSnapshotMagic) ||
      text_of(sha256(rest.substr(0, rest.size() - kHash))) != rest.substr(rest.size() - kHash)) {
    log_warning("the snapshot '" + path + "' is damaged and not used");
    return std::nullopt;
  }
  rest.remove_suffix(kHash);
  rest.remove_prefix(kSnapshotMagic.size());
  const auto take = [&rest](std::uint64_t size) {
    const std::string_view taken = rest.substr(0, size);
    rest.remove_prefix(taken.size());
    return taken;
  };
  const auto number = [&take] {
    std::uint64_t value = 0;
    const std::string_view bytes = take(8);
    std::memcpy(&value, bytes.data(), bytes.size());
    return value;
  };
  Snapshot snapshot;
  snapshot.offset = number();
  snapshot.link = take(kHash);
  snapshot.pending = take(number());
  if (number() != 0) {
    const auto* data = reinterpret_cast<const std::byte*>(rest.data());
    snapshot.state.emplace(data, data + rest.size());
  }
  return snapshot;
}

}  // namespace

Result<LedgerFile> LedgerFile::create(const std::string& path, const LedgerDeclaration& declaration, Charge charge,
                                      Overwrite overwrite) {
  P5_TRY(const Digest state, first_state(declaration));
  P5_TRY(AppendFile file, AppendFile::create(path, overwrite));
  LedgerFile ledger(path, std::move(file), std::move(charge));
  // What an earlier ledger of this name left belongs to that one.
  if (file_exists(snapshot_path(path))) P5_OK(remove_file(snapshot_path(path)));
  ledger.first_state_ = ledger.pending_.state = state;
  std::string start(kLedgerMagic);
  start += {static_cast<char>(kLedgerVersion), 0, 0, 0};
  P5_OK(ledger.write_record(LedgerTag::declaration, declaration_body(declaration), start));
  return ledger;
}

Result<LedgerFile> LedgerFile::resume(const std::string& path, const LedgerDeclaration& declaration, Charge charge) {
  if (!file_exists(path)) return create(path, declaration, std::move(charge), Overwrite::no);
  P5_TRY(const auto bytes, read_file(path));
  const auto in_file = [&path](Error error) { return tl::unexpected<Error>(std::move(error.in_file(path))); };
  auto reader = LedgerReader::open(bytes);
  if (!reader) return in_file(reader.error());
  if (!(reader->declaration() == declaration))
    return usage_error("the ledger '" + path + "' is of another evaluation: " +
                       difference(reader->declaration(), declaration) + "; evaluate as before or name another file");
  const std::optional<Snapshot> snapshot = read_snapshot(snapshot_path(path));
  std::vector<LedgerBlock> blocks;
  std::size_t kept = 0;  // blocks up to where the snapshot was made
  bool fits = false;
  std::uint64_t offset = 0;
  Digest link{};
  for (;;) {
    offset = reader->offset();
    link = reader->link();
    if (snapshot && snapshot->offset == offset && snapshot->link == text_of(link)) {
      fits = true;
      kept = blocks.size();
    }
    auto block = reader->next();
    if (!block) return in_file(block.error());
    if (!*block) break;
    blocks.push_back(std::move(**block));
  }
  if (reader->seal())
    return usage_error("the ledger '" + path + "' is complete; there is nothing to resume (`par5 audit --ledger " +
                       path + "` checks it)");
  // Without a learner a later whole block is worth more than the snapshot.
  if (fits && !snapshot->state && kept < blocks.size()) fits = false;
  if (fits) {
    blocks.resize(kept);
    offset = snapshot->offset;
    std::memcpy(link.data(), snapshot->link.data(), link.size());
  }

  P5_TRY(AppendFile file, AppendFile::open(path, offset));
  LedgerFile ledger(path, std::move(file), std::move(charge));
  P5_TRY(ledger.first_state_, first_state(declaration));
  ledger.pending_.state = ledger.first_state_;
  ledger.offset_ = offset;
  ledger.link_ = link;
  for (const LedgerBlock& block : blocks) ledger.take_up(block);
  if (fits) {
    auto pending = parse_block(snapshot->pending, declaration.targets, ledger.claim_.updates);
    if (!pending) return in_file(pending.error());
    ledger.take_up(*pending);
    if (ledger.pending_.state != pending->state)
      return internal_error("the snapshot's updates do not lead to its state");
    ledger.pending_ = std::move(*pending);
    ledger.recorded_state_ = snapshot->state;
  } else if (ledger.claim_.updates > 0) {
    log_info("the ledger has no snapshot that fits: its " + std::to_string(ledger.claim_.updates) +
             " updates are made again");
  }
  return ledger;
}

Status LedgerFile::write_record(LedgerTag tag, std::string_view body, std::string_view before) {
  std::string bytes(before);
  bytes += record_bytes(tag, body);
  link_ = ledger_link(offset_ == 0 ? std::string_view() : text_of(link_), bytes);
  bytes += text_of(link_);
  P5_OK(file_.write(as_bytes(bytes)));
  offset_ += bytes.size();
  return {};
}

Status LedgerFile::write_block() {
  P5_OK(write_record(LedgerTag::block, block_body(pending_)));
  pending_.events.clear();
  pending_.units.clear();
  pending_.bytes.clear();
  return {};
}

// What the events do to the state and the counts.
void LedgerFile::note(const LedgerEvent& event) {
  if (event.kind == LedgerEvent::Kind::learnt) {
    pending_.state = next_state(pending_.state, event);
    ++claim_.updates;
  } else if (event.kind == LedgerEvent::Kind::reset) {
    pending_.state = first_state_;
  }
}

// Counts a block of the file, and keeps it for the replay.
void LedgerFile::take_up(const LedgerBlock& block) {
  for (const LedgerEvent& event : block.events) note(event);
  claim_.targets += static_cast<std::int64_t>(block.units.size());
  claim_.units = std::accumulate(block.units.begin(), block.units.end(), claim_.units);
  claim_.bytes = std::accumulate(block.bytes.begin(), block.bytes.end(), claim_.bytes);
  recorded_events_.insert(recorded_events_.end(), block.events.begin(), block.events.end());
  recorded_units_.insert(recorded_units_.end(), block.units.begin(), block.units.end());
}

Status LedgerFile::add_scores(std::int64_t first, std::span<const std::uint32_t> units) {
  while (!units.empty()) {
    const std::size_t count = std::min(units.size(), kLedgerBlockTargets - pending_.units.size());
    const std::int64_t end = first + static_cast<std::int64_t>(count);
    auto& events = pending_.events;
    if (!events.empty() && events.back().kind == LedgerEvent::Kind::scored && events.back().end_target == first)
      events.back().end_target = end;
    else
      events.push_back({LedgerEvent::Kind::scored, first, end, claim_.updates, 0, 0, {}});
    for (std::size_t i = 0; i < count; ++i) {
      pending_.units.push_back(units[i]);
      pending_.bytes.push_back(charge_(first + static_cast<std::int64_t>(i)));
      claim_.units += units[i];
      claim_.bytes += pending_.bytes.back();
    }
    claim_.targets += static_cast<std::int64_t>(count);
    units = units.subspan(count);
    first = end;
    if (pending_.units.size() == kLedgerBlockTargets) P5_OK(write_block());
  }
  return {};
}

Status LedgerFile::add(const LedgerEvent& event) {
  note(event);
  pending_.events.push_back(event);
  return {};
}

Status LedgerFile::snapshot(std::optional<std::vector<std::byte>> state) {
  P5_OK(file_.sync());
  return write_file(snapshot_path(path_),
                    snapshot_bytes({offset_, std::string(text_of(link_)), block_body(pending_), std::move(state)}),
                    Overwrite::yes);
}

Result<Digest> LedgerFile::seal() {
  if (!pending_.events.empty()) P5_OK(write_block());
  P5_OK(write_record(LedgerTag::seal, claim_body(claim_, pending_.state)));
  P5_OK(file_.sync());
  if (file_exists(snapshot_path(path_))) P5_OK(remove_file(snapshot_path(path_)));
  return link_;
}

}  // namespace par5
