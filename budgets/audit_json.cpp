#include "budgets/audit_json.h"

namespace par5 {

nlohmann::ordered_json audit_json(const AuditReport& report, const RuleSet& rules) {
  using Json = nlohmann::ordered_json;
  const SizeLedger& sizes = report.sizes;
  Json json = {
      {"target_kind", report.target_kind}, {"rules", rules.name},          {"verdict", verdict_name(report.verdict)},
      {"total_bytes", sizes.total_bytes},  {"cap_bytes", sizes.cap_bytes}, {"margin_bytes", sizes.margin_bytes()}};
  Json parts = Json::array(), ways = Json::array(), seeds = Json::array(), streams = Json::array(),
       checks = Json::array();
  for (const LedgerLine& line : sizes.lines) {
    parts.push_back({{"what", line.what},
                     {"bytes", line.raw_bytes},
                     {"counted_bytes", line.counted_bytes},
                     {"counted", line.counted_bytes > 0}});
    if (!line.note.empty()) parts.back()["note"] = line.note;
  }
  for (const CountingWay& way : sizes.ways)
    ways.push_back(
        {{"name", way.name},
         {"code_bytes", way.code_bytes},
         {"total_bytes", way.total_bytes},
         {"margin_bytes", static_cast<std::int64_t>(sizes.cap_bytes) - static_cast<std::int64_t>(way.total_bytes)},
         {"decides", way.decides}});
  for (const SeedTotal& seed : sizes.seeds)
    seeds.push_back({{"seed", seed.seed},
                     {"where", seed.where},
                     {"artifact_bytes", seed.artifact_bytes},
                     {"total_bytes", seed.total_bytes}});
  for (const ArtifactStream& stream : sizes.streams)
    streams.push_back({{"artifact", stream.artifact},
                       {"tensor", stream.tensor},
                       {"what", stream.what},
                       {"raw_bytes", stream.raw_bytes},
                       {"stored_bytes", stream.stored_bytes}});
  for (const RuleCheck& check : report.checks) {
    Json places = Json::array();
    for (const Place& place : check.places) {
      Json entry = {{"file", place.file}};
      if (place.line > 0) entry["line"] = place.line;
      if (!place.key.empty()) entry["key"] = place.key;
      places.push_back(std::move(entry));
    }
    checks.push_back({{"id", check.id},
                      {"title", check.title},
                      {"verdict", answer_name(check.answer)},
                      {"required", check.required},
                      {"evidence", check.evidence},
                      {"places", std::move(places)}});
  }
  json["parts"] = std::move(parts);
  json["ways"] = std::move(ways);
  json["seeds"] = std::move(seeds);
  json["tokenizer_bytes"] = sizes.tokenizer_bytes;
  json["total_with_tokenizer"] = sizes.total_with_tokenizer;
  json["total_without_tokenizer"] = sizes.total_without_tokenizer;
  json["streams"] = std::move(streams);
  json["checks"] = std::move(checks);
  return json;
}

}  // namespace par5
