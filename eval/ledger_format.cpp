#include "eval/ledger_format.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace par5 {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::size_t kLinkBytes = sizeof(Digest);
constexpr std::size_t kRecordStart = 5;  // tag and size

enum EventKind : std::uint8_t { kScored = 0, kLearnt = 1, kReset = 2, kContent = 3 };

void put_number(std::string& out, std::uint64_t value, int bytes) {
  for (int i = 0; i < bytes; ++i) out += static_cast<char>(value >> (8 * i) & 0xff);
}
void put_varint(std::string& out, std::uint64_t value) {
  for (; value >= 0x80; value >>= 7) out += static_cast<char>((value & 0x7f) | 0x80);
  out += static_cast<char>(value);
}
void put_signed(std::string& out, std::int64_t value) {
  put_varint(out, static_cast<std::uint64_t>(value) << 1 ^ static_cast<std::uint64_t>(value >> 63));
}
std::string_view text_of(const Digest& digest) { return {reinterpret_cast<const char*>(digest.data()), digest.size()}; }

// Takes values from the front of a body; `failed` once something was missing or malformed.
struct Cursor {
  std::string_view rest;
  bool failed = false;

  std::string_view take(std::size_t bytes) {
    if (bytes > rest.size()) {
      failed = true;
      return {};
    }
    const std::string_view taken = rest.substr(0, bytes);
    rest.remove_prefix(bytes);
    return taken;
  }
  std::uint64_t number(int bytes) {
    const std::string_view taken = take(static_cast<std::size_t>(bytes));
    std::uint64_t value = 0;
    for (std::size_t i = 0; i < taken.size(); ++i)
      value |= static_cast<std::uint64_t>(static_cast<unsigned char>(taken[i])) << (8 * i);
    return value;
  }
  // Shortest form only, so that a value has one encoding.
  std::uint64_t varint() {
    std::uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      const std::uint64_t byte = number(1);
      if (failed || (shift == 63 && byte > 1) || (shift > 0 && byte == 0)) break;
      value |= (byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
    failed = true;
    return 0;
  }
  std::int64_t signed_varint() {
    const std::uint64_t value = varint();
    return static_cast<std::int64_t>(value >> 1) ^ -static_cast<std::int64_t>(value & 1);
  }
  Digest digest() {
    Digest digest{};
    const std::string_view taken = take(digest.size());
    std::memcpy(digest.data(), taken.data(), taken.size());
    return digest;
  }
};

std::optional<Digest> digest_from_hex(std::string_view text) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  Digest digest{};
  if (text.size() != 2 * digest.size()) return std::nullopt;
  for (std::size_t i = 0; i < digest.size(); ++i) {
    const std::size_t high = kDigits.find(text[2 * i]), low = kDigits.find(text[2 * i + 1]);
    if (high == std::string_view::npos || low == std::string_view::npos) return std::nullopt;
    digest[i] = static_cast<std::byte>(high * 16 + low);
  }
  return digest;
}

// 1, 2 or 4 bytes hold every charge of the block.
int charge_width(const std::vector<std::uint32_t>& bytes) {
  const std::uint32_t most = bytes.empty() ? 0 : *std::max_element(bytes.begin(), bytes.end());
  return most < 0x100 ? 1 : most < 0x10000 ? 2 : 4;
}

// Targets and a window length that an event may have. Nothing here can overflow: both are checked against `targets`.
bool plausible(std::int64_t first, std::uint64_t count, std::int64_t targets) {
  return first >= 1 && first <= targets && count >= 1 && count <= static_cast<std::uint64_t>(targets - first + 1);
}

}  // namespace

Digest next_state(const Digest& state, const LedgerEvent& update) {
  std::string text(text_of(state));
  for (const std::int64_t value : {update.first_target, update.end_target, update.length})
    put_number(text, static_cast<std::uint64_t>(value), 8);
  put_number(text, std::bit_cast<std::uint64_t>(update.learning_rate), 8);
  return sha256(text);
}

Result<Digest> first_state(const LedgerDeclaration& declaration) {
  const auto digest = digest_from_hex(declaration.model_sha256);
  if (!digest) return bad_data("model_sha256 is not 64 hexadecimal digits");
  return *digest;
}

std::string declaration_body(const LedgerDeclaration& d) {
  return Json{{"mode", d.mode},
              {"window", d.window},
              {"stride", d.stride},
              {"targets", d.targets},
              {"dropped_targets", d.dropped_targets},
              {"documents", d.documents},
              {"order", d.stream_order ? "stream" : "free"},
              {"engine", d.engine},
              {"temperature", d.temperature},
              {"model_sha256", d.model_sha256},
              {"data_sha256", d.data_sha256},
              {"tokenizer_sha256", d.tokenizer_sha256},
              {"learner", d.learner}}
      .dump();
}

std::string claim_body(const LedgerClaim& claim, const Digest& state) {
  return Json{{"targets", claim.targets}, {"units", claim.units}, {"bytes", claim.bytes},
              {"updates", claim.updates}, {"state", hex(state)},  {"bpb", claim.bpb()}}
      .dump();
}

std::string block_body(const LedgerBlock& block) {
  std::string events;
  std::int64_t next = 1;
  for (const LedgerEvent& event : block.events) {
    const auto count = static_cast<std::uint64_t>(event.end_target - event.first_target);
    switch (event.kind) {
      case LedgerEvent::Kind::scored:
        events += static_cast<char>(kScored);
        put_signed(events, event.first_target - next);
        put_varint(events, count);
        next = event.end_target;
        break;
      case LedgerEvent::Kind::learnt:
        events += static_cast<char>(kLearnt);
        put_signed(events, event.first_target - next);
        put_varint(events, count);
        put_varint(events, static_cast<std::uint64_t>(event.length));
        put_number(events, std::bit_cast<std::uint64_t>(event.learning_rate), 8);
        break;
      case LedgerEvent::Kind::reset:
        events += static_cast<char>(kReset);
        break;
      case LedgerEvent::Kind::content:
        events += static_cast<char>(kContent);
        events += text_of(event.content);
        break;
    }
  }
  std::string body;
  const int width = charge_width(block.bytes);
  put_number(body, block.units.size(), 4);
  put_number(body, events.size(), 4);
  put_number(body, static_cast<std::uint64_t>(width), 1);
  body += text_of(block.state);
  body += events;
  body.reserve(body.size() + block.units.size() * static_cast<std::size_t>(4 + width));
  for (const std::uint32_t units : block.units) put_number(body, units, 4);
  for (const std::uint32_t bytes : block.bytes) put_number(body, bytes, width);
  return body;
}

std::string record_bytes(LedgerTag tag, std::string_view body) {
  std::string bytes(1, static_cast<char>(tag));
  put_number(bytes, body.size(), 4);
  return bytes.append(body);
}

Digest ledger_link(std::string_view previous_link, std::string_view bytes) {
  Sha256 hash;
  hash.update(previous_link);
  hash.update(bytes);
  return hash.finish();
}

Result<LedgerDeclaration> parse_declaration(std::string_view body) {
  try {
    const Json json = Json::parse(body);
    LedgerDeclaration d;
    json.at("mode").get_to(d.mode);
    json.at("window").get_to(d.window);
    json.at("stride").get_to(d.stride);
    json.at("targets").get_to(d.targets);
    json.at("dropped_targets").get_to(d.dropped_targets);
    json.at("documents").get_to(d.documents);
    const auto order = json.at("order").get<std::string>();
    if (order != "stream" && order != "free") return bad_data("the declared order '" + order + "' is unknown");
    d.stream_order = order == "stream";
    json.at("engine").get_to(d.engine);
    json.at("temperature").get_to(d.temperature);
    json.at("model_sha256").get_to(d.model_sha256);
    json.at("data_sha256").get_to(d.data_sha256);
    json.at("tokenizer_sha256").get_to(d.tokenizer_sha256);
    json.at("learner").get_to(d.learner);
    if (d.targets < 1 || d.targets > (std::int64_t{1} << 40))
      return bad_data("the declaration names " + std::to_string(d.targets) + " targets");
    if (declaration_body(d) != body) return bad_data("the declaration is not in the form that the format prescribes");
    return d;
  } catch (const Json::exception& error) {
    return bad_data(std::string("the declaration cannot be read: ") + error.what());
  }
}

Result<LedgerSeal> parse_seal(std::string_view body) {
  try {
    const Json json = Json::parse(body);
    LedgerSeal seal;
    json.at("targets").get_to(seal.claim.targets);
    json.at("units").get_to(seal.claim.units);
    json.at("bytes").get_to(seal.claim.bytes);
    json.at("updates").get_to(seal.claim.updates);
    json.at("bpb").get_to(seal.bpb);
    const auto state = digest_from_hex(json.at("state").get<std::string>());
    if (!state) return bad_data("the claim's state is not 64 hexadecimal digits");
    seal.state = *state;
    return seal;
  } catch (const Json::exception& error) {
    return bad_data(std::string("the claim cannot be read: ") + error.what());
  }
}

Result<LedgerBlock> parse_block(std::string_view body, std::int64_t targets, std::int64_t updates) {
  Cursor in{body};
  const std::uint64_t count = in.number(4), event_bytes = in.number(4), width = in.number(1);
  LedgerBlock block;
  block.state = in.digest();
  Cursor events{in.take(event_bytes)};
  if (in.failed || count > kLedgerBlockTargets || (width != 1 && width != 2 && width != 4) ||
      in.rest.size() != count * (4 + width))
    return bad_data("the block's sizes do not fit each other");
  std::uint64_t scored = 0;
  std::int64_t next = 1;
  while (!events.rest.empty()) {
    LedgerEvent event;
    event.updates = updates;
    const std::uint64_t kind = events.number(1);
    if (kind == kScored || kind == kLearnt) {
      const std::int64_t step = events.signed_varint();
      const std::uint64_t length = events.varint();
      if (step < -targets || step > targets) events.failed = true;
      event.first_target = events.failed ? 0 : next + step;
      if (events.failed || !plausible(event.first_target, length, targets))
        return bad_data("the block names targets outside 1 … " + std::to_string(targets));
      event.end_target = event.first_target + static_cast<std::int64_t>(length);
      if (kind == kScored) {
        scored += length;
        next = event.end_target;
      } else {
        event.kind = LedgerEvent::Kind::learnt;
        const std::uint64_t window = events.varint();
        if (events.failed || window < 1 || length % window != 0)
          return bad_data("an update's windows do not fill its targets");
        event.length = static_cast<std::int64_t>(window);
        event.learning_rate = std::bit_cast<double>(events.number(8));
        ++updates;
      }
    } else if (kind == kReset) {
      event.kind = LedgerEvent::Kind::reset;
    } else if (kind == kContent) {
      event.kind = LedgerEvent::Kind::content;
      event.content = events.digest();
    } else {
      return bad_data("the block has an event of the unknown kind " + std::to_string(kind));
    }
    if (events.failed) return bad_data("the block's events end in the middle of one");
    block.events.push_back(event);
  }
  if (scored != count)
    return bad_data("the block's events score " + std::to_string(scored) + " targets and it holds " +
                    std::to_string(count) + " scores");
  block.units.reserve(count);
  block.bytes.reserve(count);
  for (std::uint64_t i = 0; i < count; ++i) block.units.push_back(static_cast<std::uint32_t>(in.number(4)));
  for (std::uint64_t i = 0; i < count; ++i)
    block.bytes.push_back(static_cast<std::uint32_t>(in.number(static_cast<int>(width))));
  if (static_cast<std::uint64_t>(charge_width(block.bytes)) != width)
    return bad_data("the block's charges are wider than they need be");
  return block;
}

Result<LedgerReader> LedgerReader::open(std::span<const std::byte> bytes) {
  LedgerReader reader;
  reader.bytes_ = {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  Cursor start{reader.bytes_};
  if (start.take(kLedgerMagic.size()) != kLedgerMagic) return bad_data("this is not a ledger", {}, 0);
  const std::uint64_t version = start.number(4);
  if (start.failed) return bad_data("the ledger ends in its first bytes", {}, bytes.size());
  if (version != kLedgerVersion)
    return bad_data("the ledger has format version " + std::to_string(version) + "; this par5 reads version " +
                        std::to_string(kLedgerVersion),
                    {}, kLedgerMagic.size());
  P5_TRY(const std::optional<Record> record, reader.next_record());
  if (!record) return bad_data("the ledger ends before its declaration is complete", {}, bytes.size());
  if (record->tag != LedgerTag::declaration) return bad_data("the ledger does not begin with a declaration", {}, 12);
  auto declaration = parse_declaration(record->body);
  if (!declaration) return bad_data(declaration.error().message, {}, 12);
  reader.declaration_ = std::move(*declaration);
  P5_OK(first_state(reader.declaration_));
  return reader;
}

Result<std::optional<LedgerReader::Record>> LedgerReader::next_record() {
  const std::size_t begin = offset_ + (has_link_ ? 0 : kLedgerMagic.size() + 4);
  Cursor in{bytes_.substr(begin)};
  if (in.rest.empty()) return std::nullopt;
  const std::uint64_t tag = in.number(1), size = in.number(4);
  Record record{static_cast<LedgerTag>(tag), in.take(size)};
  const Digest stored = in.digest();
  if (in.failed) {
    torn_ = true;
    return std::nullopt;
  }
  const std::size_t end = begin + kRecordStart + size;
  const Digest expected =
      ledger_link(has_link_ ? text_of(link_) : std::string_view(), bytes_.substr(offset_, end - offset_));
  if (stored != expected)
    return bad_data(
        "the chain is broken: record " + std::to_string(blocks_ + has_link_) + " does not hash to the link behind it",
        {}, begin, "chain");
  link_ = stored;
  has_link_ = true;
  offset_ = end + kLinkBytes;
  return record;
}

Result<std::optional<LedgerBlock>> LedgerReader::next() {
  const std::size_t begin = offset_;
  P5_TRY(const std::optional<Record> record, next_record());
  if (!record) return std::nullopt;
  const auto at = [begin](const Error& error) { return bad_data(error.message, {}, begin); };
  if (seal_) return bad_data("something follows the closing record", {}, begin);
  if (record->tag == LedgerTag::seal) {
    auto seal = parse_seal(record->body);
    if (!seal) return at(seal.error());
    seal_ = *seal;
    if (torn_ || offset_ != bytes_.size()) return bad_data("something follows the closing record", {}, offset_);
    return std::nullopt;
  }
  if (record->tag != LedgerTag::block)
    return bad_data("the record is neither a block nor the closing record", {}, begin);
  auto block = parse_block(record->body, declaration_.targets, updates_);
  if (!block) return at(block.error());
  for (const LedgerEvent& event : block->events) updates_ += event.kind == LedgerEvent::Kind::learnt;
  ++blocks_;
  return std::optional<LedgerBlock>(std::move(*block));
}

}  // namespace par5
