// Files: whole reads with a bound, read-only maps, and outputs that appear complete or not at all.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"

namespace par5 {

// Reads a whole regular file (or standard input for "-"). More than `max_bytes` is a resource_limit error.
Result<std::vector<std::byte>> read_file(const std::string& path, std::uint64_t max_bytes = std::uint64_t{1} << 36);
Result<std::string> read_text_file(const std::string& path, std::uint64_t max_bytes = std::uint64_t{1} << 30);

// A file mapped read-only for as long as the object lives. An empty file gives an empty span.
class MappedFile {
 public:
  static Result<MappedFile> open(const std::string& path);
  MappedFile(MappedFile&&) noexcept;
  MappedFile& operator=(MappedFile&&) noexcept;
  ~MappedFile();
  std::span<const std::byte> bytes() const { return {data_, size_}; }

 private:
  MappedFile(const std::byte* data, std::size_t size) : data_(data), size_(size) {}
  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

enum class Overwrite { no, yes };

// An output file. Bytes go to a temporary name in the same folder; `commit` syncs it and renames it to `path`, so
// that a reader never sees half a file. Without `commit` the destructor removes the temporary file. With
// Overwrite::no an existing `path` is a usage error, at `create` and again at `commit`.
class AtomicFile {
 public:
  static Result<AtomicFile> create(const std::string& path, Overwrite overwrite);
  AtomicFile(AtomicFile&&) noexcept;
  AtomicFile& operator=(AtomicFile&&) noexcept;
  ~AtomicFile();
  Status write(std::span<const std::byte> bytes);
  Status write(std::string_view text);
  Status commit();

 private:
  AtomicFile() = default;
  void discard();
  std::string path_;
  std::string temporary_;
  int descriptor_ = -1;
  Overwrite overwrite_ = Overwrite::no;
};

// A file that grows in place and keeps what it has when the process dies: for records of long work, whose readers
// know how to stop at the last whole one. All other outputs are AtomicFiles.
class AppendFile {
 public:
  static Result<AppendFile> create(const std::string& path, Overwrite overwrite);
  // Goes on behind the first `length` bytes of an existing file; what follows them is cut off.
  static Result<AppendFile> open(const std::string& path, std::uint64_t length);
  AppendFile(AppendFile&&) noexcept;
  AppendFile& operator=(AppendFile&&) noexcept;
  ~AppendFile();
  Status write(std::span<const std::byte> bytes);
  Status sync();  // returns once the bytes are on the disk

 private:
  AppendFile() = default;
  std::string path_;
  int descriptor_ = -1;
};

Status write_file(const std::string& path, std::span<const std::byte> bytes, Overwrite overwrite);
Status write_file(const std::string& path, std::string_view text, Overwrite overwrite);

// "Output exists; use --force" as a usage error. Commands call it before long work.
Status check_output(const std::string& path, Overwrite overwrite);

// Names in a folder (without "." and ".."), sorted by bytes. opendir, not std::filesystem: LibTorch's libraries export
// their own copies of std::filesystem's directory iterators, which crash programs that link both.
Result<std::vector<std::string>> list_folder(const std::string& path);
bool is_folder(const std::string& path);
bool file_exists(const std::string& path);
Result<std::uint64_t> file_size(const std::string& path);
// Makes the folder and its parents; an existing folder is fine.
Status make_folders(const std::string& path);
Status remove_file(const std::string& path);
// "a" + "b" -> "a/b"
std::string join_path(std::string_view folder, std::string_view name);
std::string parent_folder(std::string_view path);
std::string file_name(std::string_view path);

// A folder under $TMPDIR (or /tmp) that is removed, with the files directly in it, when the object dies.
class TemporaryFolder {
 public:
  static Result<TemporaryFolder> create();
  TemporaryFolder(TemporaryFolder&& other) noexcept : path_(std::move(other.path_)) { other.path_.clear(); }
  TemporaryFolder& operator=(TemporaryFolder&&) = delete;
  ~TemporaryFolder();
  const std::string& path() const { return path_; }

 private:
  explicit TemporaryFolder(std::string path) : path_(std::move(path)) {}
  std::string path_;
};

inline std::span<const std::byte> as_bytes(std::string_view text) {
  return std::as_bytes(std::span<const char>(text.data(), text.size()));
}

}  // namespace par5
