#include "cli/torch_front.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>

#include "core/file.h"

namespace par5 {

namespace {

// Environment variables that par5-torch must find when it starts; what the user has set stays.
void set_torch_environment() {
  // LibTorch's OpenMP threads wait by spinning, for milliseconds, which is slow where cores are shared; the bound can
  // only be set before the library is loaded.
  ::setenv("GOMP_SPINCOUNT", "10000", /*overwrite=*/0);
}

// Read anew rather than passed down: the arguments as they were given, whatever the parser made of them.
Result<std::vector<std::string>> own_arguments() {
  P5_TRY(const auto bytes, read_file("/proc/self/cmdline"));
  const std::string_view line(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  std::vector<std::string> arguments;
  for (std::size_t begin = 0; begin < line.size();) {
    const std::size_t end = line.find('\0', begin);
    arguments.emplace_back(line.substr(begin, end - begin));
    begin = end == std::string_view::npos ? line.size() : end + 1;
  }
  return arguments;
}

}  // namespace

bool torch_is_built() { return file_exists(sibling_program("par5-torch")); }

Error hand_over_to_torch() {
  const std::string program = sibling_program("par5-torch");
  auto arguments = own_arguments();
  if (!arguments) return arguments.error();
  std::vector<char*> pointers;
  for (std::string& argument : *arguments) pointers.push_back(argument.data());
  pointers.push_back(nullptr);
  set_torch_environment();
  ::execv(program.c_str(), pointers.data());
  if (errno == ENOENT)
    return missing_tool("this command needs par5-torch, which is not beside par5 ('" + program +
                        "'); build it with `make build` (`make setup` gets LibTorch)")
        .value();
  return io_failure("cannot start '" + program + "'", program, errno).value();
}

Result<int> run_torch_on_shards(const std::string& command, const std::string& shards) {
  P5_TRY(std::vector<std::string> arguments, own_arguments());
  const auto name = std::find(arguments.begin(), arguments.end(), command);
  if (name == arguments.end()) return internal_error("there is no '" + command + "' among the arguments");
  arguments.insert(name + 1, {"--shards", shards});
  arguments[0] = sibling_program("par5-torch");
  set_torch_environment();
  return run_child(arguments);
}

Command torch_front_command(std::string name, std::string summary) {
  return {std::move(name), std::move(summary), "", [](CLI::App& app) -> Runner {
            app.set_help_flag("");
            app.allow_extras();
            return [](const CommonOptions&) -> Result<Outcome> { return tl::unexpected<Error>(hand_over_to_torch()); };
          }};
}

}  // namespace par5
