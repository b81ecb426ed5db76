#include "budgets/foreign/zip.h"

#include <algorithm>

#include "budgets/foreign/decode.h"

namespace par5 {
namespace {

constexpr std::uint32_t kLocalHeader = 0x04034b50, kDirectoryHeader = 0x02014b50, kEnd = 0x06054b50,
                        kEnd64 = 0x06064b50, kEnd64Locator = 0x07064b50;
constexpr std::uint64_t kEndBytes = 22, kLocalBytes = 30, kDirectoryBytes = 46;
constexpr std::uint64_t kMostExpansion = 1032;  // deflate's best

class Directory {
 public:
  Directory(std::span<const std::byte> bytes, const std::string& path) : bytes_(bytes), path_(path) {}

  Result<ZipFile> read() {
    P5_TRY(const std::uint64_t end, find_end());
    std::uint64_t count = number(end + 10, 2), offset = number(end + 16, 4);
    if (count == 0xffff || offset == 0xffffffff) {
      if (end < 20 || number(end - 20, 4) != kEnd64Locator) return wrong(end, "needs a ZIP64 record and has none");
      const std::uint64_t end64 = number(end - 12, 8);
      if (!fits(end64, 56) || number(end64, 4) != kEnd64)
        return wrong(end - 20, "points to a ZIP64 record that is none");
      count = number(end64 + 32, 8);
      offset = number(end64 + 48, 8);
    }
    if (count > bytes_.size() / kDirectoryBytes) return wrong(end, "claims more entries than it has room for");
    ZipFile file{bytes_, path_, {}};
    for (std::uint64_t i = 0; i < count; ++i) {
      P5_TRY(ZipEntry entry, entry_at(offset));
      file.entries.push_back(std::move(entry));
    }
    P5_OK(check_overlap(file.entries));
    return file;
  }

 private:
  tl::unexpected<Error> wrong(std::uint64_t offset, const std::string& what) const {
    return bad_data("the zip file '" + path_ + "' " + what, path_, offset);
  }
  bool fits(std::uint64_t offset, std::uint64_t count) const {
    return count <= bytes_.size() && offset <= bytes_.size() - count;
  }
  // Little-endian; the caller has checked the range.
  std::uint64_t number(std::uint64_t offset, int width) const {
    std::uint64_t value = 0;
    for (int i = 0; i < width; ++i)
      value |= std::to_integer<std::uint64_t>(bytes_[offset + static_cast<std::uint64_t>(i)]) << (8 * i);
    return value;
  }

  Result<std::uint64_t> find_end() const {
    if (bytes_.size() < kEndBytes) return wrong(0, "is too short to be one");
    const std::uint64_t last = bytes_.size() - kEndBytes;
    for (std::uint64_t back = 0; back <= std::min<std::uint64_t>(last, 0xffff); ++back)
      if (number(last - back, 4) == kEnd) return last - back;
    return wrong(last, "has no directory at its end");
  }

  // Reads the directory entry at `offset` and moves behind it.
  Result<ZipEntry> entry_at(std::uint64_t& offset) const {
    if (!fits(offset, kDirectoryBytes) || number(offset, 4) != kDirectoryHeader)
      return wrong(offset, "has no directory entry where one should stand");
    ZipEntry entry;
    const std::uint64_t flags = number(offset + 8, 2), method = number(offset + 10, 2);
    entry.stored_bytes = number(offset + 20, 4);
    entry.bytes = number(offset + 24, 4);
    const std::uint64_t name = number(offset + 28, 2), extra = number(offset + 30, 2), comment = number(offset + 32, 2);
    std::uint64_t local = number(offset + 42, 4);
    if (!fits(offset, kDirectoryBytes + name + extra + comment)) return wrong(offset, "ends inside its directory");
    entry.name.assign(reinterpret_cast<const char*>(bytes_.data()) + offset + kDirectoryBytes, name);
    P5_OK(apply_zip64(offset + kDirectoryBytes + name, extra, entry, local));
    if (flags & 1) return wrong(offset, "has an encrypted entry, '" + entry.name + "'");
    if (method != 0 && method != 8)
      return wrong(offset, "has an entry of compression method " + std::to_string(method) + ", '" + entry.name + "'");
    entry.deflated = method == 8;
    if (!fits(local, kLocalBytes) || number(local, 4) != kLocalHeader)
      return wrong(local, "has no entry where its directory says");
    entry.data_offset = local + kLocalBytes + number(local + 26, 2) + number(local + 28, 2);
    if (!fits(entry.data_offset, entry.stored_bytes)) return wrong(local, "ends inside '" + entry.name + "'");
    if (!entry.deflated && entry.bytes != entry.stored_bytes)
      return wrong(offset, "stores '" + entry.name + "' in another size than it has");
    if (entry.bytes / kMostExpansion > entry.stored_bytes)
      return wrong(offset, "claims an impossible expansion of '" + entry.name + "'");
    offset += kDirectoryBytes + name + extra + comment;
    return entry;
  }

  Status apply_zip64(std::uint64_t at, std::uint64_t size, ZipEntry& entry, std::uint64_t& local) const {
    for (std::uint64_t end = at + size; at + 4 <= end;) {
      const std::uint64_t id = number(at, 2), length = number(at + 2, 2);
      if (at + 4 + length > end) return wrong(at, "has an extra field that is longer than its room");
      std::uint64_t field = at + 4;
      const std::uint64_t field_end = field + length;
      at = field_end;
      if (id != 1) continue;
      for (std::uint64_t* value : {&entry.bytes, &entry.stored_bytes, &local}) {
        if (*value != 0xffffffff || field + 8 > field_end) continue;
        *value = number(field, 8);
        field += 8;
      }
    }
    return {};
  }

  Status check_overlap(const std::vector<ZipEntry>& entries) const {
    std::vector<std::pair<std::uint64_t, std::uint64_t>> ranges;
    for (const ZipEntry& entry : entries)
      if (entry.stored_bytes > 0) ranges.emplace_back(entry.data_offset, entry.data_offset + entry.stored_bytes);
    std::sort(ranges.begin(), ranges.end());
    for (std::size_t i = 1; i < ranges.size(); ++i)
      if (ranges[i].first < ranges[i - 1].second)
        return wrong(ranges[i].first, "has entries that overlap, as zip bombs do");
    return {};
  }

  std::span<const std::byte> bytes_;
  const std::string& path_;
};

}  // namespace

const ZipEntry* ZipFile::find(std::string_view name) const {
  const auto found =
      std::find_if(entries.begin(), entries.end(), [&](const ZipEntry& entry) { return entry.name == name; });
  return found == entries.end() ? nullptr : &*found;
}

Result<std::span<const std::byte>> ZipFile::view(const ZipEntry& entry) const {
  if (entry.deflated)
    return bad_data("'" + entry.name + "' in '" + path + "' is compressed where it should be stored", path,
                    entry.data_offset);
  return bytes.subspan(entry.data_offset, entry.stored_bytes);
}

Result<std::string> ZipFile::read(const ZipEntry& entry, std::uint64_t most) const {
  if (entry.bytes > most)
    return resource_limit("'" + entry.name + "' in '" + path + "' has " + std::to_string(entry.bytes) +
                          " bytes; at most " + std::to_string(most) + " are read");
  const std::string_view stored(reinterpret_cast<const char*>(bytes.data()) + entry.data_offset, entry.stored_bytes);
  if (!entry.deflated) return std::string(stored);
  auto content = decode_deflate(stored, DeflateForm::raw, most);
  if (!content) return tl::unexpected(content.error().in_file(path));
  if (content->size() != entry.bytes)
    return bad_data("'" + entry.name + "' in '" + path + "' does not have the size that the directory says", path,
                    entry.data_offset);
  return content;
}

bool looks_like_zip(std::span<const std::byte> bytes) {
  return bytes.size() >= 4 && bytes[0] == std::byte{'P'} && bytes[1] == std::byte{'K'} &&
         (bytes[2] == std::byte{3} || bytes[2] == std::byte{5});
}

Result<ZipFile> read_zip(std::span<const std::byte> bytes, const std::string& path) {
  return Directory(bytes, path).read();
}

}  // namespace par5
