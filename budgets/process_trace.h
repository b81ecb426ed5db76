// Which files a process tree opens and whether it talks to the network, seen by the kernel's own means: a seccomp
// filter stops the tree at the few system calls that matter, ptrace reads them. Everything else runs at full speed.
#pragma once

#include <sys/resource.h>
#include <sys/types.h>

#include <functional>
#include <map>
#include <set>
#include <string>

#include "core/error.h"

namespace par5 {

struct OpenedFile {
  bool written = false;  // opened for writing at least once
  bool executed = false;
};

struct TraceResult {
  std::map<std::string, OpenedFile> files;  // by absolute path; pipes, sockets and other things without a path left out
  std::set<std::string> peers;              // "93.184.216.34:443": internet addresses that were connected or sent to
  bool internet_sockets = false;            // one was made, whatever became of it
  std::string blind;  // why the lists may be incomplete ("io_uring was used"); empty: they are not
  int status = 0;     // wait status of the first process
  rusage usage{};     // of it and the children that it waited for
};

// To be called in the forked child, between fork and exec: installs the filter. Only system calls, no allocation.
// Returns 0 or an errno.
int install_trace_filter();

// Attaches to a child that waits before its exec. EPERM and the like are io errors: the system does not allow tracing.
Status attach_trace(pid_t child);
// Runs the attached tree until all of its processes have ended. `interrupted` is called when a signal interrupts the
// wait.
Result<TraceResult> follow_trace(pid_t child, const std::function<void()>& interrupted);

}  // namespace par5
