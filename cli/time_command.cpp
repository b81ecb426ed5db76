#include <algorithm>
#include <cstdio>

#include "budgets/process_timer.h"
#include "cli/commands.h"
#include "cli/table.h"
#include "core/file.h"
#include "core/text.h"

namespace par5 {
namespace {

struct Options {
  std::vector<std::string> command;
  std::vector<std::string> phases;
  std::string output = "receipt.json";
  bool offline = false;
  bool no_trace = false;
};

// For people, on stderr: stdout belongs to the command.
std::string summary(const Receipt& receipt, const std::string& output) {
  std::vector<TableRow> rows = {{"wall", fixed(receipt.wall_seconds, 3) + " s, whole process, start-up included"},
                                {"cpu", fixed(receipt.cpu_seconds, 3) + " s"},
                                {"memory", grouped(receipt.peak_bytes) + " bytes, largest process"},
                                {"exit", std::to_string(receipt.exit_status)}};
  if (receipt.phases.size() > 1)
    for (const Phase& phase : receipt.phases)
      rows.push_back(
          {"phase " + phase.name, fixed(phase.seconds, 3) + " s from " + fixed(phase.begin_seconds, 3) + " s on"});
  for (const std::string& missing : receipt.missing_markers)
    rows.push_back({"phase " + missing, "its marker never came"});
  rows.push_back({"files opened", receipt.files_opened
                                      ? grouped(static_cast<std::int64_t>(receipt.files_opened->size()))
                                      : "unknown: " + receipt.unknown_because});
  std::string network(network_name(receipt.network));
  if (!receipt.peers.empty()) network += ": " + join(receipt.peers, ", ");
  if (receipt.network == Receipt::Network::unknown) network += ": " + receipt.unknown_because;
  rows.push_back({"network", network});
  rows.push_back({"receipt", output});
  return two_columns(rows);
}

Result<Outcome> run(const Options& options, const CommonOptions& common) {
  TimedCommand command;
  command.arguments = options.command;
  command.trace = !options.no_trace;
  command.offline = options.offline;
  command.output_to_stderr = common.json;
  for (const std::string& phase : options.phases) {
    const std::size_t equals = phase.find('=');
    if (equals == 0 || equals == std::string::npos || equals + 1 == phase.size())
      return usage_error("--phase takes NAME=TEXT, not '" + phase + "'", "--phase");
    command.markers.emplace_back(phase.substr(0, equals), phase.substr(equals + 1));
  }
  P5_OK(check_output(options.output, common.overwrite()));
  P5_TRY(const Receipt receipt, run_timed(command));
  Outcome outcome;
  outcome.report = receipt_json(receipt);
  P5_OK(write_file(options.output,
                   outcome.report.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n",
                   common.overwrite()));
  if (!common.quiet) std::fputs(summary(receipt, options.output).c_str(), stderr);
  outcome.report["receipt"] = options.output;
  outcome.status = receipt.exit_status;
  return outcome;
}

}  // namespace

Command time_command() {
  return {"time", "Time a whole process, see what it opens, and write a receipt that audit reads",
          "  par5 time -- par5 eval model.par5 --data val/\n"
          "  par5 time -o eval-receipt.json --offline --phase scoring='loaded' -- python3 train_gpt.py\n\n"
          "Exits as the command does. Files and network are seen through a seccomp filter and ptrace; where the system "
          "forbids\n"
          "that, the receipt says unknown. With --json the command's own output goes to stderr.",
          [](CLI::App& app) -> Runner {
            auto options = std::make_shared<Options>();
            app.add_option("-o,--output", options->output, "Receipt to write")->capture_default_str();
            app.add_option("--phase", options->phases,
                           "NAME=TEXT: a phase begins with the first line of output that contains TEXT")
                ->allow_extra_args(false);
            app.add_flag("--offline", options->offline, "Run the command without a network");
            app.add_flag("--no-trace", options->no_trace, "Do not look at files and network");
            app.add_option("command", options->command, "Behind --: the command and its arguments")->required();
            return [options](const CommonOptions& common) { return run(*options, common); };
          }};
}

}  // namespace par5
