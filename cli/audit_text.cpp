#include "cli/audit_text.h"

#include <algorithm>

#include "cli/artifact_text.h"
#include "core/text.h"

namespace par5 {
namespace {

std::string places_text(const std::vector<Place>& places) {
  constexpr std::size_t kMost = 4;
  std::vector<std::string> shown;
  for (std::size_t i = 0; i < places.size() && i < kMost; ++i)
    if (!places[i].file.empty() && (places[i].line > 0 || !places[i].key.empty()))
      shown.push_back(to_string(places[i]));
  if (places.size() > kMost) shown.push_back("…");
  return shown.empty() ? "" : " [" + join(shown, ", ") + "]";
}

}  // namespace

std::string audit_text(const AuditReport& report, const RuleSet& rules, bool streams, bool all) {
  const SizeLedger& sizes = report.sizes;
  std::string text = "rules  " + rules.name + ": " + rules.title + "\n";
  for (const LedgerLine& line : sizes.lines) {
    if (line.counted_bytes == 0 && line.note.empty() && !all) continue;
    const bool differs = line.counted_bytes > 0 && line.counted_bytes != line.raw_bytes;
    text += byte_column(line.counted_bytes > 0 ? line.counted_bytes : line.raw_bytes) + "  " + line.what;
    if (differs) text += ", " + grouped(static_cast<std::int64_t>(line.raw_bytes)) + " as it lies";
    if (line.counted_bytes == 0)
      text += " (not counted)";
    else if (!line.note.empty())
      text += " (" + line.note + ")";
    text += "\n";
  }
  if (streams)
    for (const ArtifactStream& stream : sizes.streams)
      text += byte_column(stream.stored_bytes > 0 ? stream.stored_bytes : stream.raw_bytes) + "  " + stream.tensor +
              (stream.tensor.empty() ? "" : ": ") + stream.what +
              (stream.stored_bytes > 0 ? "" : " (before the codec)") + "\n";
  const bool fits = sizes.margin_bytes() >= 0;
  text += byte_column(sizes.total_bytes) + "  total, " + (fits ? "FITS" : "OVER") + " the cap of " +
          grouped(static_cast<std::int64_t>(sizes.cap_bytes)) + (fits ? " with " : " by ") +
          grouped(fits ? sizes.margin_bytes() : -sizes.margin_bytes()) + (fits ? " to spare\n" : "\n");
  for (const CountingWay& way : sizes.ways)
    text += byte_column(way.total_bytes) + "  with code counted " + way.name + " (" +
            grouped(static_cast<std::int64_t>(way.code_bytes)) + ")" + (way.decides ? ", which decides" : "") + "\n";
  if (sizes.seeds.size() > 1)
    for (const SeedTotal& seed : sizes.seeds)
      text += byte_column(seed.total_bytes) + "  " + (seed.seed.empty() ? "" : "seed " + seed.seed + ", ") +
              seed.where + "\n";
  std::size_t hidden = 0;
  for (const RuleCheck& check : report.checks) {
    if (check.answer == Answer::not_applicable && !all) {
      ++hidden;
      continue;
    }
    const std::string name = check.answer == Answer::not_applicable ? "n/a" : std::string(answer_name(check.answer));
    text += left_column(name, 9) + left_column(check.id + ":", 4) + (check.id.size() < 4 ? "" : " ") + check.evidence +
            places_text(check.places) + (check.answer == Answer::unknown && !check.required ? " (not required)" : "") +
            "\n";
  }
  if (hidden > 0) text += std::to_string(hidden) + " rules do not apply here (-v lists them)\n";
  return text + "verdict  " + std::string(verdict_name(report.verdict)) +
         (report.target_kind == "artifact" ? "" : ", " + report.target_kind) + "\n";
}

}  // namespace par5
