#include "report/ledger_strip.h"

#include <algorithm>
#include <cstring>

#include "core/file.h"
#include "core/text.h"
#include "eval/ledger_audit.h"

namespace par5 {
namespace {

constexpr std::int64_t kCells = 240;

// Adds a block's scores to the cells. Places and counts come from the file: what lies outside is left out, the audit
// names it.
void add_block(const LedgerBlock& block, std::int64_t targets, std::vector<LedgerCell>& cells,
               std::int64_t& last_scored) {
  const auto count = static_cast<std::int64_t>(cells.size());
  const auto cell_of = [&](std::int64_t target) { return static_cast<std::size_t>((target - 1) * count / targets); };
  std::size_t at = 0;
  for (const LedgerEvent& event : block.events) {
    if (event.kind == LedgerEvent::Kind::learnt && last_scored > 0) ++cells[cell_of(last_scored)].updates;
    if (event.kind != LedgerEvent::Kind::scored) continue;
    for (std::int64_t target = event.first_target; target < event.end_target && at < block.units.size();
         ++target, ++at) {
      if (target < 1 || target > targets) continue;
      LedgerCell& cell = cells[cell_of(target)];
      cell.units += block.units[at];
      cell.bytes += block.bytes[at];
      last_scored = target;
    }
  }
}

}  // namespace

bool is_ledger(const std::string& path) {
  const auto file = MappedFile::open(path);
  return file && file->bytes().size() >= kLedgerMagic.size() &&
         std::memcmp(file->bytes().data(), kLedgerMagic.data(), kLedgerMagic.size()) == 0;
}

Result<LedgerStrip> read_ledger_strip(const std::string& path) {
  P5_TRY(const MappedFile file, MappedFile::open(path));
  P5_TRY(LedgerReader reader, LedgerReader::open(file.bytes()));
  const LedgerAudit audit = audit_ledger(file.bytes(), {});
  LedgerStrip strip;
  strip.name = file_name(path);
  strip.declaration = reader.declaration();
  strip.found = audit.found;
  strip.verdict = verdict_name(audit.verdict);
  strip.first_violation = audit.first_violation;
  strip.head = audit.head;
  const std::int64_t targets = strip.declaration.targets, cells = std::clamp<std::int64_t>(targets, 0, kCells);
  for (std::int64_t i = 0; i < cells; ++i) {
    // The least target t with (t - 1) · cells / targets ≥ i.
    const auto first = [&](std::int64_t cell) { return (cell * targets + cells - 1) / cells + 1; };
    strip.cells.push_back({first(i), first(i + 1), 0, 0, 0});
  }
  std::int64_t last_scored = 0;
  while (targets > 0) {
    const auto block = reader.next();
    if (!block || !*block) break;  // the end, or damage: the audit has said where
    add_block(**block, targets, strip.cells, last_scored);
  }
  return strip;
}

}  // namespace par5
