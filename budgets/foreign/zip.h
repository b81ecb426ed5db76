// Zip files, read from their central directory: names, sizes and contents of stored and deflated entries. ZIP64
// included, encryption and multi-disk archives not.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"

namespace par5 {

struct ZipEntry {
  std::string name;
  bool deflated = false;
  std::uint64_t stored_bytes = 0;
  std::uint64_t bytes = 0;  // uncompressed, as the directory claims
  std::uint64_t data_offset = 0;
};

struct ZipFile {
  std::span<const std::byte> bytes;
  std::string path;
  std::vector<ZipEntry> entries;  // in the directory's order

  const ZipEntry* find(std::string_view name) const;
  // The contents where they lie; bad_data for a deflated entry.
  Result<std::span<const std::byte>> view(const ZipEntry& entry) const;
  // The contents, decompressed where needed; at most `most` bytes.
  Result<std::string> read(const ZipEntry& entry, std::uint64_t most) const;
};

bool looks_like_zip(std::span<const std::byte> bytes);

// Reads the directory. Entries that overlap (the trick of zip bombs), lie outside the file or claim more than 1,032
// times their stored size (more than deflate can reach) are bad_data with file and offset.
Result<ZipFile> read_zip(std::span<const std::byte> bytes, const std::string& path);

}  // namespace par5
