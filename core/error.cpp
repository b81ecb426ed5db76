#include "core/error.h"

#include <cstring>

namespace par5 {
namespace {

struct ErrorRow {
  ErrorCode code;
  std::string_view name;
  int exit_status;
};

constexpr ErrorRow kErrorTable[] = {
    {ErrorCode::check_failed, "check_failed", 1}, {ErrorCode::usage, "usage", 2},
    {ErrorCode::bad_data, "bad_data", 3},         {ErrorCode::io, "io", 4},
    {ErrorCode::missing_tool, "missing_tool", 4}, {ErrorCode::resource_limit, "resource_limit", 5},
    {ErrorCode::internal, "internal", 70},        {ErrorCode::interrupted, "interrupted", 130},
};

const ErrorRow& row(ErrorCode code) {
  for (const ErrorRow& entry : kErrorTable)
    if (entry.code == code) return entry;
  return kErrorTable[6];
}

tl::unexpected<Error> make(ErrorCode code, std::string message, std::string file = {},
                           std::optional<std::uint64_t> offset = std::nullopt, std::string key = {}) {
  return tl::unexpected<Error>(Error{code, std::move(message), std::move(file), offset, std::move(key)});
}

}  // namespace

int exit_status(ErrorCode code) { return row(code).exit_status; }
std::string_view error_name(ErrorCode code) { return row(code).name; }

std::string to_string(const Error& error) {
  std::string where;
  const auto add = [&](const std::string& part) { where += (where.empty() ? " (" : ", ") + part; };
  if (!error.file.empty() && error.message.find(error.file) == std::string::npos) add("file " + error.file);
  if (error.offset) add("offset " + std::to_string(*error.offset));
  if (!error.key.empty() && error.message.find(error.key) == std::string::npos) add("key " + error.key);
  return error.message + (where.empty() ? "" : where + ")");
}

tl::unexpected<Error> check_failed(std::string message) { return make(ErrorCode::check_failed, std::move(message)); }
tl::unexpected<Error> usage_error(std::string message, std::string key) {
  return make(ErrorCode::usage, std::move(message), {}, std::nullopt, std::move(key));
}
tl::unexpected<Error> bad_data(std::string message, std::string file, std::optional<std::uint64_t> offset,
                               std::string key) {
  return make(ErrorCode::bad_data, std::move(message), std::move(file), offset, std::move(key));
}
tl::unexpected<Error> io_failure(std::string message, std::string file, int error_number) {
  return make(ErrorCode::io, std::move(message) + ": " + std::strerror(error_number), std::move(file));
}
tl::unexpected<Error> missing_tool(std::string message) { return make(ErrorCode::missing_tool, std::move(message)); }
tl::unexpected<Error> resource_limit(std::string message) {
  return make(ErrorCode::resource_limit, std::move(message));
}
tl::unexpected<Error> internal_error(std::string message) { return make(ErrorCode::internal, std::move(message)); }
tl::unexpected<Error> interrupted() {
  return make(ErrorCode::interrupted, "interrupted by a signal; nothing was published");
}

}  // namespace par5
