#include "cli/commands.h"
#include "cli/version.h"
#include "core/file.h"
#include "report/page.h"

namespace par5 {
namespace {

struct Options {
  std::vector<std::string> inputs;
  std::string output;
  bool text = false;
};

Result<Outcome> run(const Options& options, const CommonOptions& common) {
  if (options.output.empty() && !options.text && !common.json)
    return usage_error("name the page with -o page.html, or read it here with --text", "-o");
  if (!options.output.empty()) P5_OK(check_output(options.output, common.overwrite()));
  std::vector<RunData> runs;
  for (const std::string& input : options.inputs) {
    P5_TRY(auto found, read_runs(input));
    std::move(found.begin(), found.end(), std::back_inserter(runs));
  }
  Outcome outcome;
  for (const RunData& one : runs) {
    nlohmann::ordered_json entry = {{"run", one.path}};
    entry["bpb"] =
        one.evaluation.empty() ? nlohmann::ordered_json(nullptr) : nlohmann::ordered_json(one.evaluation.front().bpb);
    entry["file_bytes"] =
        one.artifact ? nlohmann::ordered_json(one.artifact->file_bytes) : nlohmann::ordered_json(nullptr);
    entry["audit"] =
        one.audit_verdict.empty() ? nlohmann::ordered_json(nullptr) : nlohmann::ordered_json(one.audit_verdict);
    entry["missing"] = one.missing;
    outcome.report["runs"].push_back(std::move(entry));
  }
  outcome.report["output"] = nullptr;
  if (options.text) outcome.text = report_text(runs);
  if (!options.output.empty()) {
    const std::string page = report_page(runs, std::string("par5 ") + kVersion);
    P5_OK(write_file(options.output, page, common.overwrite()));
    outcome.report["output"] = options.output;
    outcome.report["page_bytes"] = page.size();
    if (!options.text) outcome.text = "wrote " + options.output + " (" + std::to_string(page.size()) + " bytes)\n";
  }
  return outcome;
}

}  // namespace

Command report_command() {
  return {"report", "Show runs as one self-contained page, or as text",
          "  par5 report runs/one -o page.html\n  par5 report runs/ -o all.html\n  par5 report runs/one --text\n  par5 "
          "report val.ledger -o ledger.html\n\n"
          "The page shows what the folder holds: metrics.jsonl, model.par5, eval.json, audit.json, baseline.json (the "
          "reports that\n"
          "--json prints), *.ledger. It needs no network and no script, and prints well.",
          [](CLI::App& app) -> Runner {
            auto options = std::make_shared<Options>();
            app.add_option("inputs", options->inputs,
                           "Run folders, a folder of them, artifacts, score ledgers or reports")
                ->required();
            app.add_option("-o,--output", options->output, "Page to write");
            app.add_flag("--text", options->text, "Print the same facts here");
            return [options](const CommonOptions& common) { return run(*options, common); };
          }};
}

}  // namespace par5
