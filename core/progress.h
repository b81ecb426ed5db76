// Progress of long work: one line on stderr with rate and time left, redrawn on a terminal; silent elsewhere.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace par5 {

class Progress {
 public:
  // `total` 0: unknown, no time left is shown. `unit` is a plural noun: "tokens".
  Progress(std::string what, std::uint64_t total, std::string unit);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // Redraws at most ten times a second. `detail` is appended as it is.
  void update(std::uint64_t done, const std::string& detail = {});
  // -q: no progress lines.
  static void set_enabled(bool enabled);
  // Called before anything else is printed on stderr.
  static void clear_line();

 private:
  using Clock = std::chrono::steady_clock;
  std::string what_;
  std::string unit_;
  std::uint64_t total_;
  Clock::time_point start_ = Clock::now();
  Clock::time_point last_{};
};

}  // namespace par5
