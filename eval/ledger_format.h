// The ledger's file format, version 1 (docs/ledger.md): its records as values, and values as bytes. No files here.
#pragma once

#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/hash.h"
#include "eval/ledger.h"

namespace par5 {

inline constexpr std::string_view kLedgerMagic = "P5LEDGER";
inline constexpr std::uint32_t kLedgerVersion = 1;
inline constexpr std::size_t kLedgerBlockTargets = 32768;
// A hash of the learner's values is recorded after so many updates.
inline constexpr std::int64_t kLedgerContentInterval = 64;

// What is evaluated and how, said before the first score.
struct LedgerDeclaration {
  std::string mode;
  std::int64_t window = 0;
  std::int64_t stride = 0;
  std::int64_t targets = 0;
  std::int64_t dropped_targets = 0;
  std::int64_t documents = 0;
  bool stream_order = true;  // targets are scored in ascending order; else nothing may be learnt
  std::string engine;
  double temperature = 1;
  std::string model_sha256;      // of the model's file; the state id before the first update
  std::string data_sha256;       // of the token ids
  std::string tokenizer_sha256;  // may be empty
  std::string learner;           // how and with what is learnt; empty: nothing is
  bool operator==(const LedgerDeclaration&) const = default;
};

// What the evaluation says it found. `units` are 2^-22 bits.
struct LedgerClaim {
  std::int64_t targets = 0;
  std::uint64_t units = 0;
  std::int64_t bytes = 0;
  std::int64_t updates = 0;
  bool operator==(const LedgerClaim&) const = default;
  double bpb() const { return ledger_bits(units) / static_cast<double>(bytes); }
};

// Up to kLedgerBlockTargets scored targets in the order in which they were scored, and what was learnt in between.
struct LedgerBlock {
  std::vector<LedgerEvent> events;
  std::vector<std::uint32_t> units;  // of the events' scored targets, in order
  std::vector<std::uint32_t> bytes;  // charged, likewise
  Digest state{};                    // id of the model's state behind the block
  bool operator==(const LedgerBlock&) const = default;
};

// The id of the state that an update leads to. Resets lead back to the first id.
Digest next_state(const Digest& state, const LedgerEvent& update);
// The first id: `model_sha256` as bytes; bad_data unless it is 64 hexadecimal digits.
Result<Digest> first_state(const LedgerDeclaration& declaration);

enum class LedgerTag : std::uint8_t { declaration = 'D', block = 'B', seal = 'S' };

std::string declaration_body(const LedgerDeclaration& declaration);
std::string claim_body(const LedgerClaim& claim, const Digest& state);
std::string block_body(const LedgerBlock& block);
// The bytes from one link to the next: tag, size, body.
std::string record_bytes(LedgerTag tag, std::string_view body);
// SHA-256 of the previous link (of nothing at the start) and the bytes since.
Digest ledger_link(std::string_view previous_link, std::string_view bytes);

// Errors of the next three are bad_data and say what is wrong, without a place.
Result<LedgerDeclaration> parse_declaration(std::string_view body);
struct LedgerSeal {
  LedgerClaim claim;
  Digest state{};
  double bpb = 0;
};
Result<LedgerSeal> parse_seal(std::string_view body);
// `next_target` and `updates` are where the block before ended: 1 and 0 at first. Events are checked for what one block
// can show alone: sizes, positive counts, targets of the evaluation.
Result<LedgerBlock> parse_block(std::string_view body, std::int64_t targets, std::int64_t updates);

// Reads records one by one and checks lengths and links on the way.
class LedgerReader {
 public:
  // `bytes` must outlive the reader. An error where there is not even a whole declaration.
  static Result<LedgerReader> open(std::span<const std::byte> bytes);

  const LedgerDeclaration& declaration() const { return declaration_; }
  // The next block; nothing at the end: then `seal` or, where the file just ends, not.
  Result<std::optional<LedgerBlock>> next();
  const std::optional<LedgerSeal>& seal() const { return seal_; }
  std::size_t offset() const { return offset_; }  // behind the last record that was read
  const Digest& link() const { return link_; }    // of that record
  std::int64_t blocks() const { return blocks_; }
  // Whether bytes of an unfinished record follow, as a crash leaves them.
  bool torn() const { return torn_; }

 private:
  LedgerReader() = default;
  struct Record {
    LedgerTag tag;
    std::string_view body;
  };
  Result<std::optional<Record>> next_record();

  std::string_view bytes_;
  std::size_t offset_ = 0;
  Digest link_{};
  bool has_link_ = false;
  bool torn_ = false;
  std::int64_t blocks_ = 0;
  std::int64_t updates_ = 0;
  LedgerDeclaration declaration_;
  std::optional<LedgerSeal> seal_;
};

}  // namespace par5
