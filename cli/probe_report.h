// How `par5 eval --probe` shows what the causality probes found.
#pragma once

#include "cli/command.h"
#include "core/hash.h"
#include "core/text.h"
#include "eval/probe.h"

namespace par5 {

// With the hashes of what was probed, so that the report can be held against the model and data of a claim.
inline Result<Outcome> probe_outcome(const ProbeReport& probe, const std::string& engine, const std::string& model_file,
                                     const EvalData& data, std::int64_t window) {
  Outcome outcome;
  outcome.report["verdict"] = verdict_name(probe.verdict);
  outcome.report["engine"] = engine;
  outcome.report["distributions"] = probe.rows;
  P5_TRY(outcome.report["model_sha256"], sha256_hex_of_file(model_file));
  outcome.report["data_sha256"] = token_sha256(data, data.targets());
  outcome.report["window"] = window;
  outcome.report["exact_sums"] = probe.exact_sums;
  outcome.report["largest_sum_error"] = probe.largest_sum_error;
  outcome.report["checks"] = nlohmann::ordered_json::array();
  outcome.text = "probes of " + engine + "\n";
  for (const AuditCheck& check : probe.checks) {
    const std::string verdict(verdict_name(check.verdict));
    outcome.report["checks"].push_back({{"id", check.id}, {"verdict", verdict}, {"evidence", check.evidence}});
    outcome.text += verdict + std::string(9 - verdict.size(), ' ') + check.id + ": " + check.evidence + "\n";
  }
  outcome.text += "verdict  " + std::string(verdict_name(probe.verdict)) +
                  ": a leak that was not sampled, or one through a text that the scorer keeps itself, is not excluded; "
                  "`par5 prove` decodes\n";
  outcome.status = probe.verdict == Verdict::pass ? 0 : exit_status(ErrorCode::check_failed);
  return outcome;
}

}  // namespace par5
