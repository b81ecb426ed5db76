#include "archive/limited_program.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cmath>
#include <csignal>
#include <cstdlib>
#include <thread>

#include "core/cancel.h"
#include "core/file.h"
#include "core/text.h"

namespace par5 {
namespace {

std::vector<char*> pointers_to(const std::vector<std::string>& words) {
  std::vector<char*> pointers;
  for (const std::string& word : words) pointers.push_back(const_cast<char*>(word.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

void limit(int resource, std::uint64_t soft, std::uint64_t hard) {
  const struct rlimit bounds = {static_cast<rlim_t>(soft), static_cast<rlim_t>(hard)};
  if (::setrlimit(static_cast<decltype(RLIMIT_AS)>(resource), &bounds) != 0) ::_exit(126);
}

// In the child, between fork and exec: system calls only, for other threads may have held any lock.
[[noreturn]] void become(const LimitedProgram& program, char* const* arguments, char* const* environment) {
  ::setpgid(0, 0);
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  if (::chdir(program.folder.c_str()) != 0) ::_exit(126);
  const int nothing = ::open("/dev/null", O_RDWR);
  const int output =
      program.output.empty() ? nothing : ::open(program.output.c_str(), O_WRONLY | O_CREAT | O_EXCL, 0600);
  if (nothing < 0 || output < 0 || ::dup2(nothing, 0) < 0 || ::dup2(output, 1) < 0 || ::dup2(output, 2) < 0)
    ::_exit(126);
  ::close_range(3, ~0u, 0);
  const auto seconds = static_cast<std::uint64_t>(std::ceil(program.processor_seconds));
  limit(RLIMIT_CPU, seconds, seconds + 1);
  limit(RLIMIT_FSIZE, program.file_bytes, program.file_bytes);
  limit(RLIMIT_CORE, 0, 0);
  limit(RLIMIT_AS, program.memory_bytes, program.memory_bytes);
  ::execve(program.path.c_str(), arguments, environment);
  ::_exit(127);
}

}  // namespace

std::string find_program(const std::string& name) {
  const char* const path = std::getenv("PATH");
  for (const std::string& folder : split(path ? path : "", ':')) {
    if (!folder.starts_with('/')) continue;
    std::string candidate = join_path(folder, name);
    if (!is_folder(candidate) && ::access(candidate.c_str(), X_OK) == 0) return candidate;
  }
  return {};
}

Result<int> run_limited(const LimitedProgram& program) {
  std::vector<std::string> words = {program.path};
  words.insert(words.end(), program.arguments.begin(), program.arguments.end());
  const std::vector<char*> arguments = pointers_to(words), environment = pointers_to(program.environment);
  const auto start = std::chrono::steady_clock::now();
  const pid_t child = ::fork();
  if (child < 0) return io_failure("cannot start '" + program.path + "'", program.path, errno);
  if (child == 0) become(program, arguments.data(), environment.data());
  bool late = false, stopped = false;
  int status = 0;
  for (;;) {
    const pid_t ended = ::waitpid(child, &status, late || stopped ? 0 : WNOHANG);
    if (ended == child) break;
    if (ended < 0 && errno != EINTR) return io_failure("cannot wait for '" + program.path + "'", program.path, errno);
    late = late || std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() > program.seconds;
    stopped = stopped || cancelled();
    if (late || stopped) {
      ::kill(-child, SIGKILL);  // with what it started
      ::kill(child, SIGKILL);
    } else {
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
  }
  if (stopped) return interrupted();
  const bool by_signal = WIFSIGNALED(status);
  if (late || (by_signal && WTERMSIG(status) == SIGXCPU))
    return resource_limit("'" + program.path + "' took longer than it may (" + fixed(program.processor_seconds, 0) +
                          " s of processor time, " + fixed(program.seconds, 0) + " s by the clock) and was ended");
  return by_signal ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

}  // namespace par5
