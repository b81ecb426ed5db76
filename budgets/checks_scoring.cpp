// C1 to C4 and V2: how the score came about. These need running: they are answered from the reports of par5's own
// proofs, probes and ledgers, and are unknown without them.
#include <algorithm>

#include "budgets/checks.h"
#include "core/text.h"

namespace par5 {
namespace {

// An answer that some report gives to one of the named checks, by its own `checks[] {id, verdict, evidence}`: the ids
// are those of `par5 eval --probe` and of `par5 audit --ledger`.
Finding reported(const AuditSubject& subject, const std::vector<std::string>& ids) {
  Finding found = unknown("");
  for (const EvidenceReport& report : subject.evidence) {
    if (!report.json.contains("checks") || !report.json["checks"].is_array()) continue;
    const bool open_ledger =
        report.json.contains("sealed") && report.json["sealed"] == false;  // its end may be missing
    for (const auto& check : report.json["checks"]) {
      if (!check.is_object() || !check.contains("id") || !check.contains("verdict") || !check["id"].is_string() ||
          !check["verdict"].is_string())
        continue;
      const std::string id = check["id"].get<std::string>(), verdict = check["verdict"].get<std::string>();
      if (std::find(ids.begin(), ids.end(), id) == ids.end()) continue;
      const std::string evidence =
          check.contains("evidence") && check["evidence"].is_string() ? check["evidence"].get<std::string>() : "";
      const std::string text = report.command + ", " + id + ": " + evidence;
      if (verdict == "fail") return fails(text, {{report.file, 0, "checks." + id}});
      if (verdict == "pass" && !open_ledger) found = passes(text, {{report.file, 0, "checks." + id}});
    }
  }
  return found;
}

// The decode proof: a second process got the text back from artifact and bitstream alone. It settles all of them.
Finding proven(const AuditSubject& subject) {
  const auto reports = of_command(subject.evidence, "prove");
  Finding found = unknown("");
  for (const EvidenceReport* report : reports) {
    const Place place{report->file, 0, "identical"};
    if (!report->json.contains("identical") || !report->json["identical"].is_boolean()) continue;
    if (!report->json["identical"].get<bool>()) return fails("the decode proof did not return the text", {place});
    const auto claimed = report->number("bpb_claimed"), stream = report->number("bpb_stream");
    if (claimed && stream && *stream > *claimed * 1.001 + 1e-3)
      return fails("the bitstream takes " + shortest(*stream) + " bpb, " + shortest(*claimed) + " are claimed",
                   {{report->file, 0, "bpb_stream"}});
    found = passes(
        "the text came back from artifact and bitstream alone" + (stream ? ", " + shortest(*stream) + " bpb" : ""),
        {place});
  }
  return found;
}

Finding from_reports(const AuditSubject& subject, const std::vector<std::string>& ids, const std::string& missing,
                     const std::vector<std::string>& hints) {
  const Finding by_check = reported(subject, ids);
  if (by_check.answer == Answer::fail) return by_check;
  const Finding by_proof = proven(subject);
  if (by_proof.answer != Answer::unknown) return by_proof;
  if (by_check.answer == Answer::pass) return by_check;
  Finding finding = unknown(missing);
  for (const std::string& hint : hints)
    if (subject.closure.raw_source.find(hint) != std::string::npos) {
      finding.evidence += "; the script speaks of '" + hint + "': read it there";
      finding.places.push_back({subject.closure.entry, 0, hint});
    }
  return finding;
}

// Of par5's own evaluations: does any row learn?
enum class Learning { unknown, none, some };
Learning learning(const AuditSubject& subject, std::vector<Place>& places) {
  Learning found = Learning::unknown;
  for (const EvidenceReport* report : of_command(subject.evidence, "eval")) {
    const auto rows = report->json.contains("rows") && report->json["rows"].is_array()
                          ? report->json["rows"]
                          : nlohmann::ordered_json::array({report->json});
    for (const auto& row : rows) {
      if (!row.is_object() || !row.contains("mode")) continue;
      places.push_back({report->file, 0, "mode"});
      if (row.contains("updates") && row["updates"].is_number() && row["updates"].get<double>() > 0)
        return Learning::some;
      found = Learning::none;
    }
  }
  return found;
}

}  // namespace

Finding check_causal(const AuditSubject& subject) {
  return from_reports(
      subject, {"target", "future", "documents"},
      "needs running: no decode proof (`par5 prove --json`) and no probe (`par5 eval --probe --json`) lies beside it",
      {"slot_", "SLOT", "self-prediction"});
}

Finding check_normalised(const AuditSubject& subject) {
  return from_reports(
      subject, {"normalised", "nonnegative"},
      "needs running: no decode proof (`par5 prove --json`) and no probe (`par5 eval --probe --json`) lies beside it",
      {"ngram_hash", "ngram", "ppm"});
}

Finding check_score_before_update(const AuditSubject& subject) {
  const Finding found = from_reports(
      subject, {"order"},
      "needs running: no audit of a sealed ledger (`par5 audit --ledger … --json`) and no decode proof lies beside it",
      {"prequant_ttt", "pre_quant_ttt", "pre-quant TTT"});
  std::vector<Place> places;
  if (found.answer == Answer::unknown && subject.own && learning(subject, places) == Learning::none)
    return passes("nothing is learnt while the evaluation runs, as its reports say", places);
  return found;
}

Finding check_test_time_training(const AuditSubject& subject) {
  std::vector<Place> places;
  if (subject.own && learning(subject, places) == Learning::none) {
    const Finding by_check = reported(subject, {"order"});
    return by_check.answer == Answer::fail
               ? by_check
               : passes("nothing is learnt while the evaluation runs, as its reports say", places);
  }
  return from_reports(subject, {"order"},
                      "needs running: no audit of a sealed ledger and no decode proof lies beside it",
                      {"ttt", "test_time", "test-time"});
}

Finding check_single_pass(const AuditSubject& subject) {
  const Finding by_check = reported(subject, {"coverage"});
  if (by_check.answer != Answer::unknown) return by_check;
  const Finding by_proof = proven(subject);
  if (by_proof.answer != Answer::unknown) return by_proof;
  bool scored = false;
  std::vector<Place> places;
  for (const EvidenceReport* report : of_command(subject.evidence, "eval")) {
    const auto rows = report->json.contains("rows") && report->json["rows"].is_array()
                          ? report->json["rows"]
                          : nlohmann::ordered_json::array({report->json});
    for (const auto& row : rows) {
      if (!row.is_object() || !row.contains("targets") || !row.contains("dropped_targets") ||
          !row["dropped_targets"].is_number())
        continue;
      scored = true;
      places.push_back({report->file, 0, "dropped_targets"});
      if (row["dropped_targets"].get<double>() > 0)
        return fails(shortest(row["dropped_targets"].get<double>()) + " targets of the tail were dropped",
                     {places.back()});
    }
  }
  if (scored && subject.own)
    return passes("no target dropped; par5's broker takes one score a target, the reports' word without a ledger",
                  places);
  // Foreign: more targets than the text has are scored twice.
  for (const RunLog& log : subject.folder.logs)
    for (const LogEvaluation& evaluation : log.evaluations) {
      if (!evaluation.tokens || !evaluation.bytes) continue;
      const LogEvaluation* last = log.final_evaluation();
      if (last && last->tokens && *evaluation.tokens != *last->tokens)
        return fails("evaluations of one log score " + grouped(*evaluation.tokens) + " and " + grouped(*last->tokens) +
                         " targets",
                     {{log.file, evaluation.line, {}}, {log.file, last->line, {}}});
    }
  return unknown("needs running: no sealed ledger and no decode proof lies beside it");
}

}  // namespace par5
