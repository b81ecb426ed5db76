// A fuzz target is a function that takes any bytes. With PAR5_LIBFUZZER it is libFuzzer's entry point (`make fuzz`);
// otherwise it is one of par5-test-fuzz's, which runs it over its corpus and over mutations of that.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <string>
#include <vector>

namespace par5::fuzz {

using Bytes = std::vector<std::byte>;

struct Target {
  std::string name;
  void (*run)(std::span<const std::byte>);
};
// All targets of this program, by name.
inline std::vector<Target>& targets() {
  static std::vector<Target> list;
  return list;
}
struct Registration {
  Registration(const char* name, void (*run)(std::span<const std::byte>)) { targets().push_back({name, run}); }
};

// What must hold on any input.
inline void require(bool condition) {
  if (!condition) std::abort();
}

// Small numbers from the front of an input; 0 where it has ended.
class Input {
 public:
  explicit Input(std::span<const std::byte> bytes) : bytes_(bytes) {}
  unsigned byte() {
    if (bytes_.empty()) return 0;
    const auto value = std::to_integer<unsigned>(bytes_[0]);
    bytes_ = bytes_.subspan(1);
    return value;
  }
  unsigned below(unsigned limit) { return byte() % limit; }
  std::span<const std::byte> bytes(std::size_t count) {
    const auto part = bytes_.first(std::min(count, bytes_.size()));
    bytes_ = bytes_.subspan(part.size());
    return part;
  }
  std::span<const std::byte> rest() const { return bytes_; }

 private:
  std::span<const std::byte> bytes_;
};

}  // namespace par5::fuzz

#ifdef PAR5_LIBFUZZER
#define PAR5_FUZZ_TARGET(name)                                                        \
  static void run_##name(std::span<const std::byte> bytes);                           \
  extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) { \
    run_##name({reinterpret_cast<const std::byte*>(data), size});                     \
    return 0;                                                                         \
  }                                                                                   \
  static void run_##name(std::span<const std::byte> bytes)
#else
#define PAR5_FUZZ_TARGET(name)                                           \
  static void run_##name(std::span<const std::byte> bytes);              \
  static const par5::fuzz::Registration registration(#name, run_##name); \
  static void run_##name(std::span<const std::byte> bytes)
#endif
