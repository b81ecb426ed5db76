#include "cli/probe_audit.h"

#include "core/file.h"
#include "core/hash.h"
#include "core/verdict.h"

namespace par5 {
namespace {

using Json = nlohmann::ordered_json;

struct Question {
  const char* id;
  const char* asks;
};
constexpr Question kQuestions[] = {{"target", "another target changes no earlier probability"},
                                   {"future", "nor do other tokens behind it"},
                                   {"documents", "nor does another document"},
                                   {"repeat", "the same call gives the same bits"},
                                   {"normalised", "probabilities sum to 1"},
                                   {"nonnegative", "none is negative or above 1"}};

std::string text_at(const Json& object, const char* key) {
  return object.contains(key) && object[key].is_string() ? object[key].get<std::string>() : "";
}

// The report's own answers, by id; what it leaves out is unknown.
AuditCheck answer(const Json& report, const Question& question) {
  AuditCheck check{question.id, Verdict::unknown, std::string("not in the report: ") + question.asks};
  if (!report.contains("checks") || !report["checks"].is_array()) return check;
  for (const Json& entry : report["checks"]) {
    if (!entry.is_object() || text_at(entry, "id") != question.id) continue;
    const std::string verdict = text_at(entry, "verdict");
    check.verdict = verdict == "pass" ? Verdict::pass : verdict == "fail" ? Verdict::fail : Verdict::unknown;
    check.evidence = text_at(entry, "evidence");
  }
  return check;
}

AuditCheck model_check(const Json& report, const std::string& model_sha256) {
  const std::string probed = text_at(report, "model_sha256");
  if (probed.empty()) return {"model", Verdict::unknown, "the report does not name the model that was probed"};
  if (probed != model_sha256)
    return {"model", Verdict::fail,
            "another model was probed: " + probed.substr(0, 12) + "…, not " + model_sha256.substr(0, 12) + "…"};
  return {"model", Verdict::pass, "the model that was probed is this one: " + probed.substr(0, 12) + "…"};
}

}  // namespace

Result<Outcome> run_probe_audit(const std::string& file, const std::string& model) {
  P5_TRY(const std::string text, read_text_file(file, std::uint64_t{1} << 26));
  const Json report = Json::parse(text, nullptr, false);
  if (!report.is_object() || text_at(report, "command") != "eval" || !report.contains("checks"))
    return bad_data("'" + file + "' is no report of `par5 eval --probe --json`", file);
  std::vector<AuditCheck> checks;
  for (const Question& question : kQuestions) checks.push_back(answer(report, question));
  const Verdict answers = overall(checks);
  if (text_at(report, "verdict") != verdict_name(answers))
    checks.push_back({"verdict", Verdict::fail,
                      "the report says '" + text_at(report, "verdict") + "', its checks say '" +
                          std::string(verdict_name(answers)) + "'"});
  if (!model.empty()) {
    P5_TRY(const std::string model_sha256, sha256_hex_of_file(model));
    checks.push_back(model_check(report, model_sha256));
  }
  const Verdict verdict = overall(checks);
  Outcome outcome;
  outcome.report = {{"verdict", verdict_name(verdict)},
                    {"engine", text_at(report, "engine")},
                    {"model_sha256", text_at(report, "model_sha256")},
                    {"data_sha256", text_at(report, "data_sha256")},
                    {"checks", Json::array()}};
  for (const AuditCheck& check : checks) {
    const std::string name(verdict_name(check.verdict));
    outcome.report["checks"].push_back({{"id", check.id}, {"verdict", name}, {"evidence", check.evidence}});
    outcome.text += name + std::string(9 - name.size(), ' ') + check.id + ": " + check.evidence + "\n";
  }
  outcome.text += "verdict  " + std::string(verdict_name(verdict)) +
                  ": by the report's own word; `par5 eval --probe` asks the model again, `par5 prove` decodes\n";
  outcome.status = verdict == Verdict::pass ? 0 : exit_status(ErrorCode::check_failed);
  return outcome;
}

}  // namespace par5
