// Makes the checksums of a changed artifact good again, so that tests reach what lies behind them.
#pragma once

#include <span>
#include <vector>

#include "archive/container.h"
#include "core/hash.h"

namespace par5::test {

// The checksum of the head and that of the file. Bytes without room for them stay as they are.
inline void reseal(std::vector<std::byte>& bytes) {
  std::uint64_t length = 0;
  std::size_t at = 5;
  for (int shift = 0; at < bytes.size(); shift += 7) {
    const auto byte = std::to_integer<std::uint64_t>(bytes[at++]);
    length |= (byte & 127) << shift;
    if (byte < 128 || shift > 28) break;
  }
  const auto put = [&](std::size_t where, std::uint64_t value, int width) {
    for (int i = 0; i < width; ++i)
      bytes[where + static_cast<std::size_t>(i)] = static_cast<std::byte>(value >> (8 * i));
  };
  if (at + length + kStreamChecksumBytes + kFileChecksumBytes <= bytes.size())
    put(at + length, short_checksum(std::span(bytes).first(at + length)), kStreamChecksumBytes);
  if (bytes.size() < kFileChecksumBytes) return;
  const std::size_t end = bytes.size() - kFileChecksumBytes;
  put(end, xxh3_64(std::span(bytes).first(end)), kFileChecksumBytes);
}

}  // namespace par5::test
