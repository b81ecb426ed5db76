#include "budgets/process_trace.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <signal.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>

namespace par5 {
namespace {

#if defined(__x86_64__)
constexpr std::uint32_t kArchitecture = AUDIT_ARCH_X86_64;
#elif defined(__aarch64__)
constexpr std::uint32_t kArchitecture = AUDIT_ARCH_AARCH64;
#else
constexpr std::uint32_t kArchitecture = 0;  // every call looks foreign, and the result says that it is blind
#endif

constexpr long kTraced[] = {
#ifdef SYS_open
    SYS_open,   SYS_creat,
#endif
    SYS_openat, SYS_openat2, SYS_socket, SYS_connect, SYS_sendto, SYS_io_uring_setup,
};
constexpr std::size_t kTracedCount = sizeof kTraced / sizeof kTraced[0];
constexpr std::uint16_t kForeign = 1;  // the filter's note for a call of another architecture

template <class Request>
long trace(Request request, pid_t pid, std::uintptr_t data = 0) {
  return ::ptrace(static_cast<decltype(PTRACE_CONT)>(request), pid, nullptr, reinterpret_cast<void*>(data));
}

bool opens(std::uint64_t number) {
#ifdef SYS_open
  if (number == SYS_open || number == SYS_creat) return true;
#endif
  return number == SYS_openat || number == SYS_openat2;
}

// "address:port" of an internet address in another process's memory; empty for other families (and unreadable memory).
std::string internet_peer(pid_t pid, std::uint64_t address, std::uint64_t length) {
  sockaddr_storage storage{};
  iovec here{&storage, std::min<std::size_t>(length, sizeof storage)},
      there{reinterpret_cast<void*>(address), here.iov_len};
  if (address == 0 || ::process_vm_readv(pid, &here, 1, &there, 1, 0) < static_cast<ssize_t>(sizeof(sa_family_t)))
    return {};
  char text[INET6_ADDRSTRLEN] = {};
  if (storage.ss_family == AF_INET) {
    const auto* peer = reinterpret_cast<const sockaddr_in*>(&storage);
    ::inet_ntop(AF_INET, &peer->sin_addr, text, sizeof text);
    return std::string(text) + ":" + std::to_string(ntohs(peer->sin_port));
  }
  if (storage.ss_family == AF_INET6) {
    const auto* peer = reinterpret_cast<const sockaddr_in6*>(&storage);
    ::inet_ntop(AF_INET6, &peer->sin6_addr, text, sizeof text);
    return "[" + std::string(text) + "]:" + std::to_string(ntohs(peer->sin6_port));
  }
  return {};
}

std::string link_target(const std::string& link) {
  char target[4096];
  const ssize_t length = ::readlink(link.c_str(), target, sizeof target);
  return length > 0 ? std::string(target, static_cast<std::size_t>(length)) : std::string();
}

class Follower {
 public:
  explicit Follower(pid_t first) : first_(first) {}

  Result<TraceResult> run(const std::function<void()>& interrupted) {
    for (;;) {
      int status = 0;
      rusage usage{};
      const pid_t pid = ::wait4(-1, &status, __WALL, &usage);
      if (pid < 0) {
        if (errno == ECHILD) return result_;
        if (errno != EINTR) return io_failure("cannot wait for the command", {}, errno);
        interrupted();
        continue;
      }
      if (WIFEXITED(status) || WIFSIGNALED(status)) {
        if (pid == first_) {
          result_.status = status;
          result_.usage = usage;
        }
        opening_.erase(pid);
      } else if (WIFSTOPPED(status)) {
        stopped(pid, status);
      }
    }
  }

 private:
  void stopped(pid_t pid, int status) {
    const int signal = WSTOPSIG(status), event = status >> 16;
    if (event == PTRACE_EVENT_SECCOMP) {
      trace(enter(pid) ? PTRACE_SYSCALL : PTRACE_CONT, pid);
    } else if (signal == (SIGTRAP | 0x80)) {
      trace(leave(pid) ? PTRACE_CONT : PTRACE_SYSCALL, pid);
    } else if (event == PTRACE_EVENT_EXEC) {
      note(link_target("/proc/" + std::to_string(pid) + "/exe"), false, true);
      trace(PTRACE_CONT, pid);
    } else if (event == PTRACE_EVENT_STOP) {
      const bool group_stop = signal == SIGSTOP || signal == SIGTSTP || signal == SIGTTIN || signal == SIGTTOU;
      trace(group_stop ? PTRACE_LISTEN : PTRACE_CONT, pid);
    } else if (event != 0) {
      trace(PTRACE_CONT, pid);
    } else {
      trace(PTRACE_CONT, pid, static_cast<std::uintptr_t>(signal));  // its own signal
    }
  }

  // A traced call begins. True: its result is wanted.
  bool enter(pid_t pid) {
    __ptrace_syscall_info info{};
    if (::ptrace(PTRACE_GET_SYSCALL_INFO, pid, sizeof info, &info) <= 0 || info.op != PTRACE_SYSCALL_INFO_SECCOMP)
      return blind("a system call could not be read");
    if (info.seccomp.ret_data == kForeign) return blind("code of another architecture ran");
    const std::uint64_t number = info.seccomp.nr,
                        *arguments = reinterpret_cast<const std::uint64_t*>(info.seccomp.args);
    if (opens(number)) {
      std::uint64_t flags = 0;
#ifdef SYS_open
      if (number == SYS_open) flags = arguments[1];
      if (number == SYS_creat) flags = O_WRONLY;
#endif
      if (number == SYS_openat) flags = arguments[2];
      if (number == SYS_openat2) {
        iovec here{&flags, sizeof flags}, there{reinterpret_cast<void*>(arguments[2]), sizeof flags};
        if (::process_vm_readv(pid, &here, 1, &there, 1, 0) < 0) return blind("a system call could not be read");
      }
      opening_[pid] = (flags & O_ACCMODE) != O_RDONLY;
      return true;
    }
    if (number == SYS_socket) result_.internet_sockets |= arguments[0] == AF_INET || arguments[0] == AF_INET6;
    std::string peer;
    if (number == SYS_connect) peer = internet_peer(pid, arguments[1], arguments[2]);
    if (number == SYS_sendto) peer = internet_peer(pid, arguments[4], arguments[5]);
    if (!peer.empty()) result_.peers.insert(peer);
    if (number == SYS_io_uring_setup) blind("io_uring was used, which opens files unseen");
    return false;
  }

  // A call has ended. False: it was its beginning that stopped.
  bool leave(pid_t pid) {
    __ptrace_syscall_info info{};
    if (::ptrace(PTRACE_GET_SYSCALL_INFO, pid, sizeof info, &info) <= 0) return true;
    if (info.op == PTRACE_SYSCALL_INFO_ENTRY) return false;
    const auto found = opening_.find(pid);
    if (info.op == PTRACE_SYSCALL_INFO_EXIT && found != opening_.end() && !info.exit.is_error)
      note(link_target("/proc/" + std::to_string(pid) + "/fd/" + std::to_string(info.exit.rval)), found->second, false);
    if (found != opening_.end()) opening_.erase(found);
    return true;
  }

  void note(const std::string& path, bool written, bool executed) {
    if (path.empty() || path[0] != '/') return;
    OpenedFile& file = result_.files[path];
    file.written |= written;
    file.executed |= executed;
  }
  bool blind(const char* why) {
    result_.blind = why;
    return false;
  }

  pid_t first_;
  std::map<pid_t, bool> opening_;  // threads inside an open, and whether it is for writing
  TraceResult result_;
};

}  // namespace

int install_trace_filter() {
  // arch == ours ? (number in the list ? trace : allow) : trace as foreign
  sock_filter code[5 + kTracedCount + 2];
  std::size_t n = 0;
  code[n++] = BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, arch));
  code[n++] = BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, kArchitecture, 1, 0);
  code[n++] = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRACE | kForeign);
  code[n++] = BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr));
  for (std::size_t i = 0; i < kTracedCount; ++i)
    code[n++] = BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<std::uint32_t>(kTraced[i]),
                         static_cast<std::uint8_t>(kTracedCount - i), 0);
  code[n++] = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
  code[n++] = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRACE);
  const sock_fprog program{static_cast<unsigned short>(n), code};
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return errno;
  if (::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) return errno;
  return 0;
}

Status attach_trace(pid_t child) {
  constexpr std::uintptr_t kOptions = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACESECCOMP | PTRACE_O_TRACEEXEC |
                                      PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE;
  if (trace(PTRACE_SEIZE, child, kOptions) != 0) return io_failure("the system does not allow tracing", {}, errno);
  return {};
}

Result<TraceResult> follow_trace(pid_t child, const std::function<void()>& interrupted) {
  return Follower(child).run(interrupted);
}

}  // namespace par5
