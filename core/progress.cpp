#include "core/progress.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "core/text.h"

namespace par5 {
namespace {

std::atomic<bool> enabled{true};
std::atomic<bool> drawn{false};

bool on_terminal() {
  static const bool value = [] {
    const char* terminal = std::getenv("TERM");
    return ::isatty(STDERR_FILENO) && terminal && std::strcmp(terminal, "dumb") != 0;
  }();
  return value;
}

std::size_t columns() {
  if (const char* value = std::getenv("COLUMNS"))
    if (const int width = std::atoi(value); width > 10) return static_cast<std::size_t>(width);
  winsize size{};
  if (::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 10) return size.ws_col;
  return 80;
}

}  // namespace

Progress::Progress(std::string what, std::uint64_t total, std::string unit)
    : what_(std::move(what)), unit_(std::move(unit)), total_(total) {}
Progress::~Progress() { clear_line(); }

void Progress::set_enabled(bool value) { enabled = value; }

void Progress::clear_line() {
  if (drawn.exchange(false)) std::fputs("\r\x1b[K", stderr);
}

void Progress::update(std::uint64_t done, const std::string& detail) {
  if (!enabled || !on_terminal()) return;
  const auto now = Clock::now();
  if (now - last_ < std::chrono::milliseconds(100) && done != total_) return;
  last_ = now;
  const double seconds = std::chrono::duration<double>(now - start_).count();
  const double rate = seconds > 0 ? static_cast<double>(done) / seconds : 0;
  std::string line = what_ + "  " + grouped(static_cast<std::int64_t>(done));
  if (total_) line += " / " + grouped(static_cast<std::int64_t>(total_));
  line += " " + unit_ + "  " + grouped(static_cast<std::int64_t>(rate)) + "/s";
  if (total_ && rate > 0 && done <= total_)
    line += "  " + duration(static_cast<double>(total_ - done) / rate) + " left";
  if (!detail.empty()) line += "  " + detail;
  if (line.size() >= columns()) line.resize(columns() - 1);
  std::fprintf(stderr, "\r%s\x1b[K", line.c_str());
  std::fflush(stderr);
  drawn = true;
}

}  // namespace par5
