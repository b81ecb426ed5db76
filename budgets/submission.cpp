#include "budgets/submission.h"

#include <algorithm>
#include <cstdio>
#include <filesystem>

#include "budgets/audit_json.h"
#include "budgets/checks.h"
#include "budgets/submission_derive.h"
#include "core/text.h"
#include "tokenizer/shards/overlap.h"

namespace par5 {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::uint64_t kMostFileBytes = std::uint64_t{1} << 32;

// Removes a half-made folder unless it was kept.
class Draft {
 public:
  explicit Draft(std::string path) : path_(std::move(path)) { remove(); }
  Draft(const Draft&) = delete;
  Draft& operator=(const Draft&) = delete;
  ~Draft() { remove(); }
  const std::string& path() const { return path_; }
  Status keep_as(const std::string& target) {
    std::error_code failure;
    std::filesystem::remove_all(target, failure);
    std::filesystem::rename(path_, target, failure);
    if (failure) return io_failure("cannot move the finished submission to '" + target + "'", target, failure.value());
    return {};
  }

 private:
  void remove() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  std::string path_;
};

Status copy(const std::string& from, const std::string& to) {
  P5_OK(make_folders(parent_folder(to)));
  P5_TRY(const auto bytes, read_file(from, kMostFileBytes));
  return write_file(to, bytes, Overwrite::yes);
}

Status put(const std::string& folder, const std::string& name, const std::string& text) {
  return write_file(join_path(folder, name), text, Overwrite::yes);
}

Result<AuditSubject> subject_of(const std::string& target, const RuleSet& rules, const std::string& source,
                                const std::string& program, std::size_t threads) {
  AuditRequest request;
  request.target = target;
  request.source = source;
  request.program = program;
  request.threads = threads;
  return read_subject(request, rules);
}

// One run folder into seedN/.
Status copy_run(const std::string& run_folder, const std::string& draft, const RuleSet& rules,
                const SubmissionRequest& request) {
  P5_TRY(const AuditSubject subject, subject_of(run_folder, rules, "", "", request.threads));
  if (subject.kind != AuditSubject::Kind::run)
    return usage_error("'" + run_folder + "' is no run folder of par5 (no run.json)");
  const OwnRun& run = subject.runs.front();
  P5_TRY([[maybe_unused]] const auto measured, measured_runs(subject, request.words.mode));
  const std::string prefix = "seed" + run.seed + "/";
  if (file_exists(join_path(draft, prefix + "run.json")))
    return usage_error("two runs have the seed " + run.seed + "; a submission takes one run of a seed");
  P5_OK(copy(subject.folder.file_path(run.artifact), join_path(draft, prefix + "model.par5")));
  for (const char* name : {"config.toml", "run.json", "metrics.jsonl"}) {
    if (!file_exists(subject.folder.file_path(name)))
      return usage_error("'" + run_folder + "' has no " + name + "; only measured results are submitted");
    P5_OK(copy(subject.folder.file_path(name), join_path(draft, prefix + name)));
  }
  for (const EvidenceReport& report : subject.evidence)
    P5_OK(copy(subject.folder.file_path(report.file), join_path(draft, prefix + file_name(report.file))));
  // The shards stay behind: what they say about shared documents goes along.
  const auto folder_of = [&](const char* which) -> std::string { return run_shards(subject, run, which); };
  const std::string training = folder_of("data"), validation = folder_of("validation");
  if (!training.empty() && !validation.empty()) {
    P5_TRY(const ShardManifest a, read_manifest(training));
    P5_TRY(const ShardManifest b, read_manifest(validation));
    const Overlap overlap = document_overlap(a, b);
    const Json report = {{"schema", 1},
                         {"command", "shard overlap"},
                         {"version", request.version},
                         {"training_documents", overlap.documents_a},
                         {"validation_documents", overlap.documents_b},
                         {"shared_documents", overlap.shared_documents}};
    P5_OK(put(draft, prefix + "overlap.json", report.dump(2) + "\n"));
  }
  return {};
}

// Everything that is derived, from what lies in the folder. The README comes last but one, because it quotes the audit;
// the audit does not look at what it says.
struct Derived {
  std::vector<MeasuredRun> runs;
  AuditReport audit;
};
Status write_logs(const std::string& folder, const AuditSubject& subject, const std::vector<MeasuredRun>& runs) {
  for (const MeasuredRun& run : runs) {
    P5_TRY(const std::string metrics, subject.folder.read_text(run.prefix + "metrics.jsonl"));
    P5_OK(put(folder, run.prefix + "train.log", log_text(metrics, run)));
  }
  return {};
}

Json audit_file(const AuditReport& audit, const RuleSet& rules) {
  Json json = {{"schema", 1}, {"command", "audit"}};
  json.update(audit_json(audit, rules));
  return json;
}

Result<Derived> derive_into(const std::string& folder, const RuleSet& rules, const SubmissionRequest& request) {
  Derived derived;
  P5_TRY(const AuditSubject first, subject_of(folder, rules, "", request.program, request.threads));
  P5_TRY(derived.runs, measured_runs(first, request.words.mode));
  P5_OK(write_logs(folder, first, derived.runs));
  P5_OK(put(folder, "submission.json",
            submission_json(derived.runs, first.sizes, rules, request.words, request.version).dump(2) + "\n"));
  P5_OK(put(folder, "README.md", "# " + request.words.name + "\n"));
  P5_TRY(const AuditSubject second, subject_of(folder, rules, "", request.program, request.threads));
  P5_OK(put(folder, "README.md",
            readme_text(derived.runs, audit_subject(second), rules, request.words, request.version)));
  P5_TRY(const AuditSubject last, subject_of(folder, rules, "", request.program, request.threads));
  derived.audit = audit_subject(last);
  P5_OK(put(folder, "audit.json", audit_file(derived.audit, rules).dump(2) + "\n"));
  return derived;
}

std::string failures(const AuditReport& audit) {
  std::string text;
  for (const RuleCheck& check : audit.checks)
    if (check.answer == Answer::fail) text += "; " + check.id + ": " + check.evidence;
  return text;
}

std::string text_of(const Json& json, const char* key) {
  return json.contains(key) && json[key].is_string() ? json[key].get<std::string>() : "";
}

// The keys that differ between two flat or one-level objects.
void compare_json(const std::string& file, const std::string& path, const Json& found, const Json& derived,
                  std::vector<std::string>& differences) {
  for (const auto& [key, value] : derived.items()) {
    const std::string name = path.empty() ? key : path + "." + key;
    if (!found.is_object() || !found.contains(key))
      differences.push_back(file + ": " + name + " is missing; it should be " + value.dump());
    else if (value.is_object())
      compare_json(file, name, found[key], value, differences);
    else if (found[key] != value)
      differences.push_back(file + ": " + name + " is " + found[key].dump() + ", the reports give " + value.dump());
  }
  for (const auto& [key, value] : found.items())
    if (!derived.contains(key))
      differences.push_back(file + ": " + (path.empty() ? key : path + "." + key) + " follows from no report");
}

}  // namespace

Result<AuditReport> write_submission(const SubmissionRequest& request, const RuleSet& rules) {
  if (request.runs.empty()) return usage_error("name at least one run folder");
  if (file_exists(request.folder) || is_folder(request.folder)) P5_OK(check_output(request.folder, request.overwrite));
  Draft draft(request.folder + ".partial");
  P5_OK(make_folders(draft.path()));
  for (const std::string& run : request.runs) P5_OK(copy_run(run, draft.path(), rules, request));
  if (!request.source.empty()) {
    P5_TRY(const OwnCode code, own_code(request.source, kEvalEntry, ""));
    for (const std::string& file : code.files)
      P5_OK(copy(join_path(request.source, file), join_path(draft.path(), "code/" + file)));
  }
  P5_TRY(Derived derived, derive_into(draft.path(), rules, request));
  if (derived.audit.verdict == Verdict::fail && !request.allow_fail)
    return check_failed("the submission fails its audit and was not written (--allow-fail writes it all the same)" +
                        failures(derived.audit));
  P5_OK(draft.keep_as(request.folder));
  return std::move(derived.audit);
}

Result<SubmissionCheck> check_submission(const std::string& folder, const std::string& rules_name,
                                         const std::string& program, std::size_t threads) {
  P5_TRY(const std::string text, read_text_file(join_path(folder, "submission.json"), std::uint64_t{1} << 24));
  const Json claim = Json::parse(text, nullptr, false);
  if (!claim.is_object() || !text_of(claim, "tool").starts_with("par5 "))
    return bad_data("'" + folder + "' was not made by par5 submit; `par5 audit` judges other people's folders",
                    join_path(folder, "submission.json"));
  P5_TRY(const RuleSet rules, load_rules(rules_name.empty() ? text_of(claim, "track") : rules_name));
  const SubmissionWords words{text_of(claim, "name"), text_of(claim, "author"), text_of(claim, "github_id"),
                              text_of(claim, "date"), text_of(claim, "blurb"),  text_of(claim, "mode")};
  const std::string version = text_of(claim, "tool").substr(5);

  SubmissionCheck check;
  P5_TRY(const AuditSubject subject, subject_of(folder, rules, "", program, threads));
  check.audit = audit_subject(subject);
  P5_TRY(const auto runs, measured_runs(subject, words.mode));
  compare_json("submission.json", "", claim, submission_json(runs, subject.sizes, rules, words, version),
               check.differences);
  const auto same = [&](const std::string& file, const std::string& derived) {
    if (subject.folder.read_text(file).value_or("") != derived)
      check.differences.push_back(file + " is not what the reports give");
  };
  for (const MeasuredRun& run : runs) {
    P5_TRY(const std::string metrics, subject.folder.read_text(run.prefix + "metrics.jsonl"));
    same(run.prefix + "train.log", log_text(metrics, run));
  }
  same("README.md", readme_text(runs, check.audit, rules, words, version));
  same("audit.json", audit_file(check.audit, rules).dump(2) + "\n");
  return check;
}

}  // namespace par5
