// Errors as values: one table of error codes, each with its exit status, and the macros that forward them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <utility>

namespace par5 {

// The kinds of failure that a caller may tell apart. `exit_status` maps each to the documented exit status.
enum class ErrorCode {
  check_failed,    // 1: a check was made and did not hold (over budget, proof failed)
  usage,           // 2: the command line or the configuration asks for something that cannot be
  bad_data,        // 3: an input is truncated, corrupt, foreign or inconsistent
  io,              // 4: reading or writing failed
  missing_tool,    // 4: a program or library that the command needs is not there
  resource_limit,  // 5: a stated bound on memory, time or size would be exceeded
  internal,        // 70: par5's own fault
  interrupted,     // 130: SIGINT or SIGTERM
};

// The exit status of each error code; the only place where the two are joined.
int exit_status(ErrorCode code);
// The name that `--json` reports print, e.g. "bad_data".
std::string_view error_name(ErrorCode code);

// What was wrong, where, and what to do. `message` is one clear sentence; file, offset and key say where.
struct Error {
  ErrorCode code = ErrorCode::internal;
  std::string message;
  std::string file;
  std::optional<std::uint64_t> offset;
  std::string key;

  Error& in_file(std::string path) {
    if (file.empty()) file = std::move(path);
    return *this;
  }
};

// One line for a person: "message (file F, offset N, key K)"; parts that the message names already are left out.
std::string to_string(const Error& error);

template <class T>
using Result = tl::expected<T, Error>;
using Status = Result<void>;

// Makers. `io_failure` appends the text of `error_number` (an errno value).
tl::unexpected<Error> check_failed(std::string message);
tl::unexpected<Error> usage_error(std::string message, std::string key = {});
tl::unexpected<Error> bad_data(std::string message, std::string file = {},
                               std::optional<std::uint64_t> offset = std::nullopt, std::string key = {});
tl::unexpected<Error> io_failure(std::string message, std::string file, int error_number);
tl::unexpected<Error> missing_tool(std::string message);
tl::unexpected<Error> resource_limit(std::string message);
tl::unexpected<Error> internal_error(std::string message);
tl::unexpected<Error> interrupted();

}  // namespace par5

#define P5_CONCAT_IMPL(a, b) a##b
#define P5_CONCAT(a, b) P5_CONCAT_IMPL(a, b)
#define P5_TRY_IMPL(temporary, declaration, ...)                                      \
  auto temporary = (__VA_ARGS__);                                                     \
  if (!temporary) return tl::unexpected<::par5::Error>(std::move(temporary).error()); \
  declaration = std::move(temporary).value()

// P5_TRY(auto bytes, read_file(path)): the value, or return the error to the caller.
#define P5_TRY(declaration, ...) P5_TRY_IMPL(P5_CONCAT(p5_result_, __COUNTER__), declaration, __VA_ARGS__)
// P5_OK(status_expression): return the error to the caller if there is one.
#define P5_OK(...)                                                        \
  do {                                                                    \
    if (auto p5_status = (__VA_ARGS__); !p5_status)                       \
      return tl::unexpected<::par5::Error>(std::move(p5_status).error()); \
  } while (false)
