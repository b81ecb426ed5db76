// Bytes of a file or of standard input, decompressed on the way.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "core/error.h"

namespace par5 {

class ByteStream {
 public:
  virtual ~ByteStream() = default;
  // Fills up to out.size() bytes; 0 means the end. Errors: io (reading), bad_data (a truncated or damaged compressed
  // stream, with its offset in the file), resource_limit (a compressed stream that asks for more than 1 GiB of memory).
  virtual Result<std::size_t> read(std::span<char> out) = 0;
  // Bytes of the file consumed so far, before decompression.
  virtual std::uint64_t consumed() const = 0;
};

// Opens a file, or standard input for "-". xz and zstd are recognised by their first bytes, whatever the name.
Result<std::unique_ptr<ByteStream>> open_byte_stream(const std::string& path);

}  // namespace par5
