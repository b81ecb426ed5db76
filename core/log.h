// The log on stderr. Plain C++ on purpose: fmt and spdlog stay out of headers that LibTorch code includes.
#pragma once

#include <string>

namespace par5 {

enum class LogLevel { debug, info, warning, error };

// What is printed: warnings and errors with -q, also information by default, also debug lines with -v.
void set_log_level(LogLevel lowest);
void log_line(LogLevel level, const std::string& message);
inline void log_debug(const std::string& message) { log_line(LogLevel::debug, message); }
inline void log_info(const std::string& message) { log_line(LogLevel::info, message); }
inline void log_warning(const std::string& message) { log_line(LogLevel::warning, message); }
inline void log_error(const std::string& message) { log_line(LogLevel::error, message); }

}  // namespace par5
