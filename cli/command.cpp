#include "cli/command.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <sstream>

#include "cli/version.h"
#include "core/cancel.h"
#include "core/log.h"
#include "core/parallel.h"
#include "core/progress.h"
#include "core/text.h"

extern char** environ;

namespace par5 {
namespace {

using Json = nlohmann::ordered_json;

void add_common_options(CLI::App& app, CommonOptions& common) {
  app.add_flag("--json", common.json, "Print one JSON object on stdout");
  app.add_option("--threads", common.threads, "Threads to use (0: one per core)")->check(CLI::Range(0, 1024));
  app.add_flag("--force", common.force, "Replace existing outputs");
  app.add_flag("-q,--quiet", common.quiet, "Print warnings and errors only");
  app.add_flag("-v,--verbose", common.verbose, "Print more about what is done");
}

// Reports end up on stdout whole: a full disk is an error, not silence. A reader that has seen enough (`| head`) is
// none.
Status print(const std::string& text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) == text.size() && std::fflush(stdout) == 0) return {};
  if (errno == EPIPE) return {};
  return io_failure("cannot write to standard output", "-", errno);
}

Json error_object(const Error& error) {
  Json object = {{"code", error_name(error.code)}, {"message", error.message}};
  object["file"] = error.file.empty() ? Json(nullptr) : Json(error.file);
  object["offset"] = error.offset ? Json(*error.offset) : Json(nullptr);
  object["key"] = error.key.empty() ? Json(nullptr) : Json(error.key);
  return object;
}

std::string dump(const Json& report) { return report.dump(2, ' ', false, Json::error_handler_t::replace) + "\n"; }

// The list of commands shows each one's summary only; its examples stand at the top of its own help.
class SummaryFormatter : public CLI::Formatter {
 public:
  std::string make_subcommand(const CLI::App* sub) const override {
    const std::string description = sub->get_description();
    std::stringstream out;
    CLI::detail::format_help(out, sub->get_display_name(true), description.substr(0, description.find('\n')),
                             column_width_);
    return out.str();
  }
};

bool asked_for_json(int argc, char** argv) {
  for (int i = 1; i < argc; ++i)
    if (std::string_view(argv[i]) == "--json") return true;
  return false;
}

int report_error(const Error& error, const std::string& command, bool json) {
  if (json)
    (void)print(dump({{"schema", 1}, {"command", command}, {"error", error_object(error)}}));
  else
    log_error(to_string(error));
  return exit_status(error.code);
}

}  // namespace

int run_program(int argc, char** argv, const std::string& program, const std::vector<Command>& commands) {
  const auto start = std::chrono::steady_clock::now();
  install_signal_handlers();
  CLI::App app{"par5: size-capped language models with five-level weights, from text to a proven bpb", program};
  app.set_version_flag("--version", program + " " + kVersion + " (" + kGitHash + ")");
  app.require_subcommand(1);
  app.formatter(std::make_shared<SummaryFormatter>());
  CommonOptions common;
  std::vector<std::pair<CLI::App*, Runner>> runners;
  for (const Command& command : commands) {
    CLI::App* sub = app.add_subcommand(
        command.name, command.summary + (command.examples.empty() ? "" : "\n\nExamples:\n" + command.examples));
    add_common_options(*sub, common);
    runners.emplace_back(sub, command.setup(*sub));
    for (CLI::App* nested : sub->get_subcommands({})) add_common_options(*nested, common);
  }
  const std::string first = argc > 1 ? argv[1] : "";
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& success) {
    return app.exit(success);
  } catch (const CLI::ParseError& error) {
    std::vector<std::string> names;
    for (const Command& command : commands) names.push_back(command.name);
    std::string message = error.what();
    const bool known = std::find(names.begin(), names.end(), first) != names.end();
    if (!known && !first.empty() && first[0] != '-') {
      const std::string near = nearest_name(first, names);
      message = "'" + first + "' is not a command" + (near.empty() ? "" : "; did you mean '" + near + "'?");
    }
    return report_error(
        {ErrorCode::usage, message + " (`" + program + (known ? " " + first : "") + " --help` shows how)", {}, {}, {}},
        known ? first : "", asked_for_json(argc, argv));
  }

  set_log_level(common.quiet ? LogLevel::warning : common.verbose ? LogLevel::debug : LogLevel::info);
  Progress::set_enabled(!common.quiet);
  for (auto& [sub, runner] : runners) {
    if (!sub->parsed()) continue;
    std::string name = sub->get_name();
    for (CLI::App* nested : sub->get_subcommands()) name += " " + nested->get_name();
    Result<Outcome> outcome = internal_error("the command did not run");
    try {
      outcome = runner(common);
    } catch (const std::bad_alloc&) {
      outcome = resource_limit("out of memory");
    } catch (const std::exception& error) {
      outcome = internal_error(std::string("unexpected failure: ") + error.what());
    }
    Progress::clear_line();
    if (!outcome) return report_error(outcome.error(), name, common.json);
    std::string text = outcome->text;
    if (common.json && !outcome->report.is_null()) {
      Json report = {{"schema", 1}, {"command", name}, {"version", kVersion}};
      report["seconds"] = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
      report["threads"] = thread_count(common.threads);
      report["kernel"] = "portable";
      report.update(outcome->report);
      text = dump(report);
    }
    if (auto status = print(text); !status) return report_error(status.error(), name, false);
    return outcome->status;
  }
  return exit_status(ErrorCode::internal);
}

std::string sibling_program(const std::string& name) {
  std::string path(4096, '\0');
  const ssize_t length = ::readlink("/proc/self/exe", path.data(), path.size());
  if (length <= 0) return name;
  path.resize(static_cast<std::size_t>(length));
  return join_path(parent_folder(path), name);
}

Result<int> run_child(const std::vector<std::string>& arguments, const std::string& output) {
  std::vector<char*> raw;
  for (const std::string& argument : arguments) raw.push_back(const_cast<char*>(argument.c_str()));
  raw.push_back(nullptr);
  pid_t child = 0;
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  if (!output.empty())
    ::posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, output.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0666);
  const int failure = ::posix_spawn(&child, raw[0], &actions, nullptr, raw.data(), environ);
  ::posix_spawn_file_actions_destroy(&actions);
  if (failure != 0) return io_failure("cannot start '" + arguments[0] + "'", arguments[0], failure);
  int status = 0;
  bool forwarded = false;
  while (::waitpid(child, &status, 0) < 0) {
    if (errno != EINTR) return io_failure("cannot wait for '" + arguments[0] + "'", arguments[0], errno);
    // A signal sent to this process alone is passed on once; the child then ends in its own time.
    if (cancelled() && !std::exchange(forwarded, true)) ::kill(child, SIGTERM);
  }
  if (WIFEXITED(status)) return WEXITSTATUS(status);
  return internal_error("'" + arguments[0] + "' was ended by signal " + std::to_string(WTERMSIG(status)));
}

}  // namespace par5
