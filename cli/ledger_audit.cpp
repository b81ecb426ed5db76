#include "cli/ledger_audit.h"

#include "core/text.h"
#include "eval/ledger_audit.h"

namespace par5 {
namespace {

using Json = nlohmann::ordered_json;

Json report_of(const LedgerAudit& audit) {
  Json report;
  report["verdict"] = verdict_name(audit.verdict);
  report["first_violation"] = audit.first_violation.empty() ? Json(nullptr) : Json(audit.first_violation);
  report["ledger_sha256"] = audit.head;
  report["sealed"] = audit.sealed;
  if (audit.declaration) {
    report["mode"] = audit.declaration->mode;
    report["engine"] = audit.declaration->engine;
    report["model_sha256"] = audit.declaration->model_sha256;
    report["data_sha256"] = audit.declaration->data_sha256;
    report["dropped_targets"] = audit.declaration->dropped_targets;
  }
  report["targets"] = audit.found.targets;
  report["bytes"] = audit.found.bytes;
  report["bpb"] = audit.found.bytes > 0 ? Json(audit.found.bpb()) : Json(nullptr);
  report["updates"] = audit.found.updates;
  report["blocks"] = audit.blocks;
  report["file_bytes"] = audit.file_bytes;
  report["checks"] = Json::array();
  for (const AuditCheck& check : audit.checks)
    report["checks"].push_back({{"id", check.id}, {"verdict", verdict_name(check.verdict)}, {"evidence", check.evidence}});
  report["proves"] = ledger_audit_proves(audit);
  report["leaves_open"] = ledger_audit_leaves_open(audit);
  return report;
}

std::string text_of(const LedgerAudit& audit) {
  std::string text;
  if (audit.declaration)
    text += audit.declaration->mode + ", window " + std::to_string(audit.declaration->window) + ", stride " +
            std::to_string(audit.declaration->stride) + ", engine " + audit.declaration->engine + "; head hash " +
            audit.head + "\n";
  for (const AuditCheck& check : audit.checks) {
    const std::string verdict(verdict_name(check.verdict));
    text += verdict + std::string(9 - verdict.size(), ' ') + check.id + ": " + check.evidence + "\n";
  }
  if (!audit.first_violation.empty()) text += "first violation  " + audit.first_violation + "\n";
  for (const std::string& line : ledger_audit_proves(audit)) text += "proves     " + line + "\n";
  for (const std::string& line : ledger_audit_leaves_open(audit)) text += "not proved " + line + "\n";
  return text + "verdict  " + std::string(verdict_name(audit.verdict)) + "\n";
}

}  // namespace

void add_ledger_audit_options(CLI::App& app, LedgerAuditOptions& options) {
  CLI::Option* file = app.add_option("--ledger", options.file, "Audit this score ledger instead of an artifact");
  app.add_option("--head", options.head, "The head hash that was published with the ledger")->needs(file);
}

Result<Outcome> run_ledger_audit(const LedgerAuditOptions& options, const CommonOptions&) {
  P5_TRY(const MappedFile file, MappedFile::open(options.file));
  const LedgerAudit audit = audit_ledger(file.bytes(), options.head);
  Outcome outcome;
  outcome.report = report_of(audit);
  outcome.text = text_of(audit);
  outcome.status = audit.verdict == Verdict::pass ? 0 : exit_status(ErrorCode::check_failed);
  return outcome;
}

}  // namespace par5
