#include "core/log.h"

#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include <cstdlib>
#include <string_view>

#include "core/progress.h"

namespace par5 {
namespace {

spdlog::logger& logger() {
  static const auto instance = [] {
    auto made = spdlog::stderr_color_mt("par5");
    made->set_pattern("%^%l%$: %v");
    made->set_level(spdlog::level::info);
    if (const char* no_color = std::getenv("NO_COLOR"); no_color && *no_color)
      static_cast<spdlog::sinks::stderr_color_sink_mt*>(made->sinks().front().get())
          ->set_color_mode(spdlog::color_mode::never);
    return made;
  }();
  return *instance;
}

spdlog::level::level_enum to_spdlog(LogLevel level) {
  switch (level) {
    case LogLevel::debug:
      return spdlog::level::debug;
    case LogLevel::info:
      return spdlog::level::info;
    case LogLevel::warning:
      return spdlog::level::warn;
    case LogLevel::error:
      return spdlog::level::err;
  }
  return spdlog::level::err;
}

}  // namespace

void set_log_level(LogLevel lowest) { logger().set_level(to_spdlog(lowest)); }

void log_line(LogLevel level, const std::string& message) {
  Progress::clear_line();
  logger().log(to_spdlog(level), spdlog::string_view_t(message.data(), message.size()));
}

}  // namespace par5
