#include "cli/torch_front.h"

#include <unistd.h>

#include <cerrno>

#include "core/file.h"

namespace par5 {

Error hand_over_to_torch() {
  const std::string program = sibling_program("par5-torch");
  // Read anew rather than passed down: the arguments as they were given, whatever the parser made of them.
  const auto bytes = read_file("/proc/self/cmdline");
  if (!bytes) return bytes.error();
  const std::string_view line(reinterpret_cast<const char*>(bytes->data()), bytes->size());
  std::vector<std::string> arguments;
  for (std::size_t begin = 0; begin < line.size();) {
    const std::size_t end = line.find('\0', begin);
    arguments.emplace_back(line.substr(begin, end - begin));
    begin = end == std::string_view::npos ? line.size() : end + 1;
  }
  std::vector<char*> pointers;
  for (std::string& argument : arguments) pointers.push_back(argument.data());
  pointers.push_back(nullptr);
  ::execv(program.c_str(), pointers.data());
  if (errno == ENOENT)
    return missing_tool("this command needs par5-torch, which is not beside par5 ('" + program +
                        "'); build it with `make build` (`make setup` gets LibTorch)")
        .value();
  return io_failure("cannot start '" + program + "'", program, errno).value();
}

Command torch_front_command(std::string name, std::string summary) {
  return {std::move(name), std::move(summary), "", [](CLI::App& app) -> Runner {
            app.set_help_flag("");
            app.allow_extras();
            return [](const CommonOptions&) -> Result<Outcome> { return tl::unexpected<Error>(hand_over_to_torch()); };
          }};
}

}  // namespace par5
