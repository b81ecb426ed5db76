#include "budgets/process_timer.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <thread>

#include "budgets/process_trace.h"
#include "core/cancel.h"
#include "core/text.h"

namespace par5 {
namespace {

using Clock = std::chrono::steady_clock;
using Json = nlohmann::ordered_json;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

class Pipe {
 public:
  bool open() { return ::pipe2(ends_.data(), O_CLOEXEC) == 0; }
  ~Pipe() {
    close_read();
    close_write();
  }
  int read_end() const { return ends_[0]; }
  int write_end() const { return ends_[1]; }
  void close_read() { close(0); }
  void close_write() { close(1); }

 private:
  void close(std::size_t end) {
    if (ends_[end] >= 0) ::close(std::exchange(ends_[end], -1));
  }
  std::array<int, 2> ends_{-1, -1};
};

void write_all(int descriptor, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(descriptor, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return;  // a reader that has gone away is the command's to notice
    bytes.remove_prefix(static_cast<std::size_t>(written));
  }
}

// Passes output on and notes when markers come by.
class MarkerWatch {
 public:
  MarkerWatch(const TimedCommand& command, Clock::time_point start)
      : command_(command), start_(start), seen_(command.markers.size()) {}

  void pump(int output, int errors) {
    std::array<pollfd, 2> ends = {{{output, POLLIN, 0}, {errors, POLLIN, 0}}};
    std::array<std::string, 2> lines;
    while (ends[0].fd >= 0 || ends[1].fd >= 0) {
      if (::poll(ends.data(), ends.size(), -1) < 0) {
        if (errno == EINTR) continue;
        return;
      }
      for (std::size_t i = 0; i < ends.size(); ++i) {
        if (ends[i].fd < 0 || ends[i].revents == 0) continue;
        char buffer[1 << 16];
        const ssize_t length = ::read(ends[i].fd, buffer, sizeof buffer);
        if (length < 0 && errno == EINTR) continue;
        if (length <= 0) {
          ends[i].fd = -1;
          continue;
        }
        const double now = seconds_since(start_);
        const std::string_view bytes(buffer, static_cast<std::size_t>(length));
        write_all(i == 0 && !command_.output_to_stderr ? STDOUT_FILENO : STDERR_FILENO, bytes);
        watch(lines[i], bytes, now);
      }
    }
  }

  void finish(double wall, Receipt& receipt) const {
    std::vector<Phase> begun = {{"start-up", 0, 0}};
    for (std::size_t i = 0; i < seen_.size(); ++i) {
      if (seen_[i])
        begun.push_back({command_.markers[i].first, *seen_[i], 0});
      else
        receipt.missing_markers.push_back(command_.markers[i].first);
    }
    std::stable_sort(begun.begin(), begun.end(),
                     [](const Phase& a, const Phase& b) { return a.begin_seconds < b.begin_seconds; });
    for (std::size_t i = 0; i < begun.size(); ++i)
      begun[i].seconds = (i + 1 < begun.size() ? begun[i + 1].begin_seconds : wall) - begun[i].begin_seconds;
    receipt.phases = std::move(begun);
  }

 private:
  // A marker may straddle two reads: the unfinished line is kept, up to a bound.
  void watch(std::string& line, std::string_view bytes, double now) {
    line += bytes;
    for (std::size_t i = 0; i < seen_.size(); ++i)
      if (!seen_[i] && line.find(command_.markers[i].second) != std::string::npos) seen_[i] = now;
    const std::size_t end = line.find_last_of("\r\n");
    if (end != std::string::npos) line.erase(0, end + 1);
    if (line.size() > (1u << 16)) line.erase(0, line.size() - 4096);
  }

  const TimedCommand& command_;
  Clock::time_point start_;
  std::vector<std::optional<double>> seen_;
};

bool write_file_raw(const char* path, const char* text) {
  const int descriptor = ::open(path, O_WRONLY | O_CLOEXEC);
  if (descriptor < 0) return false;
  const auto length = static_cast<ssize_t>(std::strlen(text));
  const bool written = ::write(descriptor, text, static_cast<std::size_t>(length)) == length;
  ::close(descriptor);
  return written;
}

// A network without interfaces; as another user than root in a user namespace of its own. 0 or an errno.
int leave_network(const char* uid_map, const char* gid_map) {
  if (::unshare(CLONE_NEWNET) == 0) return 0;
  if (::unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0) return errno;
  if (!write_file_raw("/proc/self/setgroups", "deny") || !write_file_raw("/proc/self/uid_map", uid_map) ||
      !write_file_raw("/proc/self/gid_map", gid_map))
    return EPERM;
  return 0;
}

// What the child tells before its exec: which step failed, and why. Nothing told: the exec worked.
struct Failure {
  enum class Step : int { filter, network, exec } step = Step::exec;
  int error = 0;
};

struct ChildSetup {
  std::vector<char*> arguments;
  const TimedCommand* command = nullptr;
  const Pipe *ready, *failure, *output, *errors;
  std::string uid_map, gid_map;
  bool trace = false;
};

[[noreturn]] void run_child(const ChildSetup& setup) {
  const auto fail = [&](Failure::Step step, int error) {
    const Failure failure{step, error};
    [[maybe_unused]] const ssize_t written = ::write(setup.failure->write_end(), &failure, sizeof failure);
    ::_exit(127);
  };
  // The parent attaches first.
  char go = 0;
  while (::read(setup.ready->read_end(), &go, 1) < 0 && errno == EINTR) {
  }
  if (setup.output->write_end() >= 0) {
    ::dup2(setup.output->write_end(), STDOUT_FILENO);
    ::dup2(setup.errors->write_end(), STDERR_FILENO);
  } else if (setup.command->output_to_stderr) {
    ::dup2(STDERR_FILENO, STDOUT_FILENO);
  }
  for (const int signal : {SIGINT, SIGTERM, SIGPIPE}) ::signal(signal, SIG_DFL);
  if (setup.command->offline)
    if (const int error = leave_network(setup.uid_map.c_str(), setup.gid_map.c_str()))
      fail(Failure::Step::network, error);
  if (setup.trace && go == 't')
    if (const int error = install_trace_filter()) fail(Failure::Step::filter, error);
  ::execvp(setup.arguments[0], setup.arguments.data());
  fail(Failure::Step::exec, errno);
  ::_exit(127);
}

Result<TraceResult> wait_untraced(pid_t child, const std::function<void()>& interrupted) {
  TraceResult result;
  while (::wait4(child, &result.status, 0, &result.usage) < 0) {
    if (errno != EINTR) return io_failure("cannot wait for the command", {}, errno);
    interrupted();
  }
  return result;
}

double seconds_of(const timeval& time) {
  return static_cast<double>(time.tv_sec) + 1e-6 * static_cast<double>(time.tv_usec);
}

void fill_from_trace(const TraceResult& trace, bool offline, Receipt& receipt) {
  receipt.files_opened.emplace();
  for (const auto& [path, file] : trace.files) receipt.files_opened->push_back({path, file.written, file.executed});
  receipt.peers.assign(trace.peers.begin(), trace.peers.end());
  if (!trace.peers.empty())
    receipt.network = Receipt::Network::used;
  else if (offline)
    receipt.network = Receipt::Network::off;
  else if (!trace.internet_sockets)
    receipt.network = Receipt::Network::unused;
  else
    receipt.unknown_because = "an internet socket was made and no connection seen";
  if (!trace.blind.empty()) {
    receipt.unknown_because = trace.blind;
    receipt.files_opened.reset();
    if (receipt.network == Receipt::Network::unused) receipt.network = Receipt::Network::unknown;
  }
}

Result<Receipt> run_once(const TimedCommand& command, bool traced) {
  Pipe ready, failure, output, errors;
  if (!ready.open() || !failure.open() || (!command.markers.empty() && (!output.open() || !errors.open())))
    return io_failure("cannot make a pipe", {}, errno);
  ChildSetup setup{{}, &command, &ready, &failure, &output, &errors, {}, {}, traced};
  for (const std::string& argument : command.arguments) setup.arguments.push_back(const_cast<char*>(argument.c_str()));
  setup.arguments.push_back(nullptr);
  const std::string uid = std::to_string(::getuid()), gid = std::to_string(::getgid());
  setup.uid_map = uid + " " + uid + " 1";
  setup.gid_map = gid + " " + gid + " 1";

  Receipt receipt;
  receipt.arguments = command.arguments;
  char folder[4096];
  if (::getcwd(folder, sizeof folder)) receipt.folder = folder;
  std::fflush(nullptr);
  const auto start = Clock::now();
  const pid_t child = ::fork();
  if (child < 0) return io_failure("cannot start a process", {}, errno);
  if (child == 0) run_child(setup);
  ready.close_read();
  failure.close_write();
  output.close_write();
  errors.close_write();
  bool attached = false;
  if (traced) {
    const auto status = attach_trace(child);
    attached = status.has_value();
    if (!attached) receipt.unknown_because = to_string(status.error());
  }
  write_all(ready.write_end(), attached ? "t" : "u");

  MarkerWatch watch(command, start);
  std::thread pump;
  if (!command.markers.empty()) pump = std::thread([&] { watch.pump(output.read_end(), errors.read_end()); });
  bool forwarded = false;
  const auto interrupted = [&] {
    if (cancelled() && !std::exchange(forwarded, true)) ::kill(child, SIGTERM);
  };
  auto ended = attached ? follow_trace(child, interrupted) : wait_untraced(child, interrupted);
  receipt.wall_seconds = seconds_since(start);
  if (pump.joinable()) pump.join();
  if (!ended) return tl::unexpected(std::move(ended).error());

  Failure told;
  if (::read(failure.read_end(), &told, sizeof told) == sizeof told) {
    if (told.step == Failure::Step::filter) {
      // No filter, no trace: once more without.
      P5_TRY(Receipt again, run_once(command, false));
      again.unknown_because = "the system does not allow a seccomp filter: " + std::string(std::strerror(told.error));
      return again;
    }
    if (told.step == Failure::Step::network)
      return io_failure("cannot run the command without a network here", {}, told.error);
    if (told.error == ENOENT) return missing_tool("there is no program '" + command.arguments[0] + "'");
    return io_failure("cannot start '" + command.arguments[0] + "'", command.arguments[0], told.error);
  }
  receipt.exit_status = WIFEXITED(ended->status) ? WEXITSTATUS(ended->status) : 128 + WTERMSIG(ended->status);
  receipt.cpu_seconds = seconds_of(ended->usage.ru_utime) + seconds_of(ended->usage.ru_stime);
  receipt.peak_bytes = static_cast<std::int64_t>(ended->usage.ru_maxrss) * 1024;
  watch.finish(receipt.wall_seconds, receipt);
  if (attached) {
    fill_from_trace(*ended, command.offline, receipt);
  } else {
    if (command.offline) receipt.network = Receipt::Network::off;
    if (receipt.unknown_because.empty()) receipt.unknown_because = "not traced";
  }
  return receipt;
}

}  // namespace

std::string_view network_name(Receipt::Network network) {
  switch (network) {
    case Receipt::Network::off:
      return "off";
    case Receipt::Network::unused:
      return "unused";
    case Receipt::Network::used:
      return "used";
    case Receipt::Network::unknown:
      return "unknown";
  }
  return "unknown";
}

Result<Receipt> run_timed(const TimedCommand& command) {
  if (command.arguments.empty()) return usage_error("there is no command to time");
  return run_once(command, command.trace);
}

Json receipt_json(const Receipt& receipt) {
  Json object = {{"schema", 1},
                 {"command", "time"},
                 {"arguments", receipt.arguments},
                 {"folder", receipt.folder},
                 {"exit_status", receipt.exit_status},
                 {"wall_seconds", receipt.wall_seconds},
                 {"cpu_seconds", receipt.cpu_seconds},
                 {"peak_bytes", receipt.peak_bytes}};
  object["phases"] = Json::array();
  for (const Phase& phase : receipt.phases)
    object["phases"].push_back(
        {{"name", phase.name}, {"begin_seconds", phase.begin_seconds}, {"seconds", phase.seconds}});
  object["missing_phases"] = receipt.missing_markers;
  object["files_opened"] = nullptr;
  if (receipt.files_opened) {
    object["files_opened"] = Json::array();
    for (const Receipt::File& file : *receipt.files_opened)
      object["files_opened"].push_back({{"path", file.path}, {"written", file.written}, {"executed", file.executed}});
  }
  Json network = {{"state", network_name(receipt.network)}, {"peers", receipt.peers}};
  network["used"] = receipt.network == Receipt::Network::unknown ? Json(nullptr)
                    : receipt.network == Receipt::Network::off   ? Json("off")
                                                                 : Json(receipt.network == Receipt::Network::used);
  object["network"] = std::move(network);
  object["unknown_because"] = receipt.unknown_because.empty() ? Json(nullptr) : Json(receipt.unknown_because);
  return object;
}

}  // namespace par5
