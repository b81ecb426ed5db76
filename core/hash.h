// Hashes: SHA-256 for what a claim rests on, XXH3-64 for detecting damage.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "core/error.h"

namespace par5 {

using Digest = std::array<std::byte, 32>;

class Sha256 {
 public:
  Sha256();
  Sha256(Sha256&&) noexcept;
  Sha256& operator=(Sha256&&) noexcept;
  ~Sha256();
  void update(std::span<const std::byte> bytes);
  void update(std::string_view text);
  // Ends the hash; the object may not be used afterwards.
  Digest finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

Digest sha256(std::span<const std::byte> bytes);
Digest sha256(std::string_view text);
// Lower-case hexadecimal.
std::string hex(std::span<const std::byte> bytes);
std::string sha256_hex(std::span<const std::byte> bytes);
Result<std::string> sha256_hex_of_file(const std::string& path);

std::uint64_t xxh3_64(std::span<const std::byte> bytes);

}  // namespace par5
