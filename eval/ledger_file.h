// The ledger on disk: written while the evaluation runs, and taken up again after a crash. docs/ledger.md.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/file.h"
#include "eval/ledger_format.h"

namespace par5 {

// Blocks are written as they fill. What is not in a whole block yet, and the learner's state, go to a snapshot beside
// the ledger ("FILE.snapshot"), which is replaced now and then and removed when the ledger is sealed.
class LedgerFile {
 public:
  // Bytes that a target is charged.
  using Charge = std::function<std::uint32_t(std::int64_t target)>;

  static Result<LedgerFile> create(const std::string& path, const LedgerDeclaration& declaration, Charge charge,
                                   Overwrite overwrite);
  // Goes on with an unsealed ledger, from its snapshot where there is one that fits (blocks behind it are cut off if it
  // holds a learner's state), else from its last whole block; a file that does not exist is created. A ledger of
  // another declaration, or a sealed one, is a usage error; a damaged one is bad_data.
  static Result<LedgerFile> resume(const std::string& path, const LedgerDeclaration& declaration, Charge charge);

  // What the file held when it was opened: everything happened so far, in order.
  const std::vector<LedgerEvent>& recorded_events() const { return recorded_events_; }
  const std::vector<std::uint32_t>& recorded_units() const { return recorded_units_; }
  // The learner's state behind those events; nothing where there was no snapshot.
  const std::optional<std::vector<std::byte>>& recorded_state() const { return recorded_state_; }

  Status add_scores(std::int64_t first, std::span<const std::uint32_t> units);
  Status add(const LedgerEvent& event);  // not a score
  // `state` is the learner's, or nothing.
  Status snapshot(std::optional<std::vector<std::byte>> state);
  // Writes the last block and the claim. Returns the head hash: the last link.
  Result<Digest> seal();

 private:
  LedgerFile(std::string path, AppendFile file, Charge charge)
      : path_(std::move(path)), file_(std::move(file)), charge_(std::move(charge)) {}
  Status write_record(LedgerTag tag, std::string_view body, std::string_view before = {});
  Status write_block();
  void note(const LedgerEvent& event);
  void take_up(const LedgerBlock& block);

  std::string path_;
  AppendFile file_;
  Charge charge_;
  std::uint64_t offset_ = 0;  // of the end of the last whole record
  Digest link_{};
  Digest first_state_{};
  LedgerBlock pending_;  // its state is the current one
  LedgerClaim claim_;    // so far
  std::vector<LedgerEvent> recorded_events_;
  std::vector<std::uint32_t> recorded_units_;
  std::optional<std::vector<std::byte>> recorded_state_;
};

}  // namespace par5
