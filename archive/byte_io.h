// Bytes of the container: a reader that never steps outside what it was given, and the writer beside it. Integers are
// little-endian; a varint is LEB128 in its shortest form, so that one number has one spelling.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"

namespace par5 {

// A cursor over bytes. Every error is bad_data that names the file and the offset of the first byte that is wrong.
class ByteReader {
 public:
  // `base` is the offset of bytes[0] in the file `path` (empty: the caller adds file and offset); `what` names the
  // region: "the header".
  ByteReader(std::span<const std::byte> bytes, std::string path, std::uint64_t base, std::string what)
      : bytes_(bytes), path_(std::move(path)), what_(std::move(what)), base_(base) {}

  std::uint64_t offset() const { return base_ + position_; }
  std::size_t remaining() const { return bytes_.size() - position_; }
  const std::string& path() const { return path_; }

  tl::unexpected<Error> error(const std::string& message) const { return error_at(offset(), message); }
  tl::unexpected<Error> error_at(std::uint64_t where, const std::string& message) const {
    return bad_data(path_.empty() ? message : "'" + path_ + "' is damaged: " + message, path_, where);
  }

  Result<std::span<const std::byte>> bytes(std::uint64_t count) {
    if (count > remaining())
      return error(what_ + " ends where " + std::to_string(count) + " more bytes should stand (" +
                   std::to_string(remaining()) + " remain)");
    const auto part = bytes_.subspan(position_, static_cast<std::size_t>(count));
    position_ += static_cast<std::size_t>(count);
    return part;
  }

  // Unsigned little-endian integer of 1 … 8 bytes.
  Result<std::uint64_t> fixed(int width) {
    P5_TRY(const auto part, bytes(static_cast<std::uint64_t>(width)));
    std::uint64_t value = 0;
    for (int i = 0; i < width; ++i)
      value |= std::to_integer<std::uint64_t>(part[static_cast<std::size_t>(i)]) << (8 * i);
    return value;
  }

  Result<std::uint64_t> varint() {
    const std::uint64_t start = offset();
    std::uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      P5_TRY(const std::uint64_t byte, fixed(1));
      if (shift == 63 && byte > 1) break;
      value |= (byte & 127) << shift;
      if (byte < 128) {
        if (byte == 0 && shift > 0) return error_at(start, "a number is not in its shortest form");
        return value;
      }
    }
    return error_at(start, "a number is larger than 64 bits");
  }

  Result<double> number() {
    P5_TRY(const std::uint64_t bits, fixed(8));
    return std::bit_cast<double>(bits);
  }

  // A length as varint, then that many bytes; at most `limit` of them.
  Result<std::span<const std::byte>> counted(std::uint64_t limit) {
    const std::uint64_t start = offset();
    P5_TRY(const std::uint64_t length, varint());
    if (length > limit)
      return error_at(start,
                      "a length of " + std::to_string(length) + " is above the bound of " + std::to_string(limit));
    return bytes(length);
  }
  Result<std::string> text(std::uint64_t limit) {
    P5_TRY(const auto part, counted(limit));
    return std::string(reinterpret_cast<const char*>(part.data()), part.size());
  }

 private:
  std::span<const std::byte> bytes_;
  std::string path_;
  std::string what_;
  std::uint64_t base_ = 0;
  std::size_t position_ = 0;
};

class ByteWriter {
 public:
  void fixed(std::uint64_t value, int width) {
    for (int i = 0; i < width; ++i) bytes_.push_back(static_cast<std::byte>(value >> (8 * i)));
  }
  void varint(std::uint64_t value) {
    for (; value >= 128; value >>= 7) bytes_.push_back(static_cast<std::byte>(value | 128));
    bytes_.push_back(static_cast<std::byte>(value));
  }
  void number(double value) { fixed(std::bit_cast<std::uint64_t>(value), 8); }
  void raw(std::span<const std::byte> part) { bytes_.insert(bytes_.end(), part.begin(), part.end()); }
  void counted(std::span<const std::byte> part) {
    varint(part.size());
    raw(part);
  }
  void text(std::string_view part) { counted(std::as_bytes(std::span<const char>(part.data(), part.size()))); }

  const std::vector<std::byte>& bytes() const { return bytes_; }
  std::vector<std::byte> take() { return std::move(bytes_); }

 private:
  std::vector<std::byte> bytes_;
};

}  // namespace par5
