#include <ctime>

#include "budgets/audit_json.h"
#include "budgets/own_code.h"
#include "budgets/submission.h"
#include "cli/audit_text.h"
#include "cli/commands.h"
#include "cli/version.h"
#include "core/text.h"

namespace par5 {
namespace {

struct Options {
  SubmissionRequest request;
  std::string rules;
  std::string check;
};

std::string today() {
  const std::time_t now = std::time(nullptr);
  char text[16];
  std::strftime(text, sizeof text, "%Y-%m-%d", std::gmtime(&now));
  return text;
}

Result<Outcome> run_check(const Options& options, const CommonOptions& common) {
  P5_TRY(const SubmissionCheck check,
         check_submission(options.check, options.rules, sibling_program("par5"), common.threads));
  Outcome outcome;
  const bool follows = check.differences.empty();
  outcome.report["folder"] = options.check;
  outcome.report["follows"] = follows;
  outcome.report["differences"] = check.differences;
  outcome.report["verdict"] = verdict_name(check.audit.verdict);
  for (const std::string& difference : check.differences) outcome.text += "differs  " + difference + "\n";
  if (follows) outcome.text += "every number in '" + options.check + "' follows from the artifacts and reports in it\n";
  outcome.text += "verdict  " + std::string(verdict_name(check.audit.verdict)) + "\n";
  outcome.status = follows && check.audit.verdict != Verdict::fail ? 0 : exit_status(ErrorCode::check_failed);
  return outcome;
}

Result<Outcome> run(const Options& options, const CommonOptions& common) {
  if (!options.check.empty()) return run_check(options, common);
  SubmissionRequest request = options.request;
  if (request.folder.empty()) return usage_error("name the folder to be made with -o FOLDER", "-o");
  P5_TRY(const RuleSet rules, load_rules(options.rules.empty() ? "parameter-golf-10min-16mb" : options.rules));
  if (request.words.name.empty()) request.words.name = file_name(request.folder);
  if (request.words.date.empty()) request.words.date = today();
  request.program = sibling_program("par5");
  if (request.source.empty()) request.source = source_tree_of(request.program);
  if (request.source.empty())
    return usage_error("no source tree of par5 was found beside the program; name it with --source DIR", "--source");
  request.version = kVersion;
  request.overwrite = common.overwrite();
  request.threads = common.threads;
  P5_TRY(const AuditReport audit, write_submission(request, rules));
  Outcome outcome;
  outcome.report = audit_json(audit, rules);
  outcome.report["folder"] = request.folder;
  outcome.text = audit_text(audit, rules, false, common.verbose) + "wrote " + request.folder + "\n";
  return outcome;
}

}  // namespace

Command submit_command() {
  return {"submit", "Make a submission folder from measured runs, or check one",
          "  par5 submit runs/a runs/b runs/c -o records/mine --name 'Mine' --github-id me\n  par5 submit --check "
          "records/mine",
          [](CLI::App& app) -> Runner {
            auto options = std::make_shared<Options>();
            SubmissionRequest& request = options->request;
            auto* check =
                app.add_option("--check", options->check, "Derive everything in this folder again and compare");
            app.add_option("runs", request.runs, "Run folders, one a seed, each with model.par5 and eval.json")
                ->excludes(check);
            app.add_option("-o,--output", request.folder, "Folder to make");
            app.add_option("--rules", options->rules,
                           "Rule set: " + join(rule_names(), ", ") +
                               ", or a TOML file (default: parameter-golf-10min-16mb, or what the folder names)");
            app.add_option("--mode", request.words.mode,
                           "Mode of evaluation that is claimed (default: the only one, else sliding)");
            app.add_option("--name", request.words.name, "Name of the submission");
            app.add_option("--author", request.words.author, "Author");
            app.add_option("--github-id", request.words.github_id, "The author's name on GitHub");
            app.add_option("--date", request.words.date, "Date (default: today, UTC)");
            app.add_option("--blurb", request.words.blurb, "One paragraph about it");
            app.add_option("--source", request.source, "Source tree of par5, to copy the counted code from");
            app.add_flag("--allow-fail", request.allow_fail, "Write the folder although its audit fails");
            return [options](const CommonOptions& common) { return run(*options, common); };
          }};
}

}  // namespace par5
