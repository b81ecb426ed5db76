#include "core/file.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>

namespace par5 {
namespace {

struct Descriptor {
  int value = -1;
  ~Descriptor() {
    if (value > STDERR_FILENO) ::close(value);
  }
};

Result<std::vector<std::byte>> read_descriptor(int descriptor, const std::string& path, std::uint64_t max_bytes) {
  std::vector<std::byte> bytes;
  struct stat status {};
  if (::fstat(descriptor, &status) == 0 && S_ISREG(status.st_mode)) {
    if (static_cast<std::uint64_t>(status.st_size) > max_bytes)
      return resource_limit("'" + path + "' has " + std::to_string(status.st_size) + " bytes; at most " +
                            std::to_string(max_bytes) + " are read here");
    bytes.reserve(static_cast<std::size_t>(status.st_size) + 1);
  }
  constexpr std::size_t kChunk = std::size_t{1} << 18;
  for (;;) {
    const std::size_t used = bytes.size();
    bytes.resize(std::max(bytes.capacity(), used + kChunk));
    const ssize_t got = ::read(descriptor, bytes.data() + used, bytes.size() - used);
    bytes.resize(used + static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return io_failure("cannot read '" + path + "'", path, errno);
    if (got == 0) return bytes;
    if (bytes.size() > max_bytes)
      return resource_limit("'" + path + "' has more than " + std::to_string(max_bytes) + " bytes");
  }
}

Status write_all(int descriptor, const std::string& path, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(descriptor, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return io_failure("cannot write '" + path + "'", path, errno);
    bytes = bytes.subspan(static_cast<std::size_t>(written));
  }
  return {};
}

}  // namespace

Result<std::vector<std::byte>> read_file(const std::string& path, std::uint64_t max_bytes) {
  if (path == "-") return read_descriptor(STDIN_FILENO, "standard input", max_bytes);
  Descriptor descriptor{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  if (descriptor.value < 0) return io_failure("cannot open '" + path + "'", path, errno);
  return read_descriptor(descriptor.value, path, max_bytes);
}

Result<std::string> read_text_file(const std::string& path, std::uint64_t max_bytes) {
  P5_TRY(const auto bytes, read_file(path, max_bytes));
  return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

Result<MappedFile> MappedFile::open(const std::string& path) {
  Descriptor descriptor{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  if (descriptor.value < 0) return io_failure("cannot open '" + path + "'", path, errno);
  struct stat status {};
  if (::fstat(descriptor.value, &status) != 0) return io_failure("cannot examine '" + path + "'", path, errno);
  if (!S_ISREG(status.st_mode))
    return tl::unexpected(Error{ErrorCode::io, "'" + path + "' is not a regular file", path, {}, {}});
  const auto size = static_cast<std::size_t>(status.st_size);
  if (size == 0) return MappedFile(nullptr, 0);
  void* data = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, descriptor.value, 0);
  if (data == MAP_FAILED) return io_failure("cannot map '" + path + "'", path, errno);
  return MappedFile(static_cast<const std::byte*>(data), size);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}
MappedFile::~MappedFile() {
  if (data_) ::munmap(const_cast<std::byte*>(data_), size_);
}

Status check_output(const std::string& path, Overwrite overwrite) {
  if (overwrite == Overwrite::no && file_exists(path))
    return tl::unexpected(
        Error{ErrorCode::usage, "the output '" + path + "' exists already; --force replaces it", path, {}, {}});
  return {};
}

Result<AtomicFile> AtomicFile::create(const std::string& path, Overwrite overwrite) {
  P5_OK(check_output(path, overwrite));
  AtomicFile file;
  file.path_ = path;
  file.overwrite_ = overwrite;
  std::string pattern = path + ".part.XXXXXX";
  file.descriptor_ = ::mkostemp(pattern.data(), O_CLOEXEC);
  if (file.descriptor_ < 0) return io_failure("cannot create '" + path + "'", path, errno);
  file.temporary_ = pattern;
  const mode_t mask = ::umask(0);
  ::umask(mask);
  ::fchmod(file.descriptor_, 0666 & ~mask);
  return file;
}

AtomicFile::AtomicFile(AtomicFile&& other) noexcept
    : path_(std::move(other.path_)),
      temporary_(std::exchange(other.temporary_, {})),
      descriptor_(std::exchange(other.descriptor_, -1)),
      overwrite_(other.overwrite_) {}
AtomicFile& AtomicFile::operator=(AtomicFile&& other) noexcept {
  discard();
  path_ = std::move(other.path_);
  temporary_ = std::exchange(other.temporary_, {});
  descriptor_ = std::exchange(other.descriptor_, -1);
  overwrite_ = other.overwrite_;
  return *this;
}
AtomicFile::~AtomicFile() { discard(); }

void AtomicFile::discard() {
  if (descriptor_ >= 0) ::close(descriptor_);
  descriptor_ = -1;
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
  temporary_.clear();
}

Status AtomicFile::write(std::span<const std::byte> bytes) { return write_all(descriptor_, path_, bytes); }
Status AtomicFile::write(std::string_view text) { return write(as_bytes(text)); }

Status AtomicFile::commit() {
  if (::fsync(descriptor_) != 0) return io_failure("cannot write '" + path_ + "' to disk", path_, errno);
  if (::close(std::exchange(descriptor_, -1)) != 0) return io_failure("cannot close '" + path_ + "'", path_, errno);
  if (overwrite_ == Overwrite::no) {
    // link() fails where the name exists: nobody's file is replaced, even one that appeared meanwhile.
    if (::link(temporary_.c_str(), path_.c_str()) == 0) {
      ::unlink(temporary_.c_str());
      temporary_.clear();
      return {};
    }
    if (errno == EEXIST) return check_output(path_, Overwrite::no);
  }
  if (::rename(temporary_.c_str(), path_.c_str()) != 0)
    return io_failure("cannot rename to '" + path_ + "'", path_, errno);
  temporary_.clear();
  // The rename itself is durable once the folder is synced.
  Descriptor folder{::open(parent_folder(path_).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  if (folder.value >= 0) ::fsync(folder.value);
  return {};
}

Result<AppendFile> AppendFile::create(const std::string& path, Overwrite overwrite) {
  AppendFile file;
  file.path_ = path;
  const int existing = overwrite == Overwrite::yes ? O_TRUNC : O_EXCL;
  file.descriptor_ = ::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | existing, 0666);
  if (file.descriptor_ >= 0) return file;
  if (errno == EEXIST)
    if (auto exists = check_output(path, overwrite); !exists) return tl::unexpected(exists.error());
  return io_failure("cannot create '" + path + "'", path, errno);
}

Result<AppendFile> AppendFile::open(const std::string& path, std::uint64_t length) {
  AppendFile file;
  file.path_ = path;
  file.descriptor_ = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
  if (file.descriptor_ < 0) return io_failure("cannot open '" + path + "' for writing", path, errno);
  if (::ftruncate(file.descriptor_, static_cast<off_t>(length)) != 0 || ::lseek(file.descriptor_, 0, SEEK_END) < 0)
    return io_failure("cannot cut '" + path + "'", path, errno);
  return file;
}

AppendFile::AppendFile(AppendFile&& other) noexcept
    : path_(std::move(other.path_)), descriptor_(std::exchange(other.descriptor_, -1)) {}

AppendFile& AppendFile::operator=(AppendFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(descriptor_, other.descriptor_);
  return *this;
}

AppendFile::~AppendFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

Status AppendFile::write(std::span<const std::byte> bytes) { return write_all(descriptor_, path_, bytes); }

Status AppendFile::sync() {
  if (::fdatasync(descriptor_) != 0) return io_failure("cannot write '" + path_ + "' to disk", path_, errno);
  return {};
}

Status write_file(const std::string& path, std::span<const std::byte> bytes, Overwrite overwrite) {
  P5_TRY(auto file, AtomicFile::create(path, overwrite));
  P5_OK(file.write(bytes));
  return file.commit();
}
Status write_file(const std::string& path, std::string_view text, Overwrite overwrite) {
  return write_file(path, as_bytes(text), overwrite);
}

Result<std::vector<std::string>> list_folder(const std::string& path) {
  DIR* folder = ::opendir(path.c_str());
  if (!folder) return io_failure("cannot list the folder '" + path + "'", path, errno);
  std::vector<std::string> names;
  while (const dirent* entry = ::readdir(folder)) {
    const std::string name = entry->d_name;
    if (name != "." && name != "..") names.push_back(name);
  }
  ::closedir(folder);
  std::sort(names.begin(), names.end());
  return names;
}

bool is_folder(const std::string& path) {
  struct stat status {};
  return ::stat(path.c_str(), &status) == 0 && S_ISDIR(status.st_mode);
}
bool file_exists(const std::string& path) {
  struct stat status {};
  return ::stat(path.c_str(), &status) == 0;
}
Result<std::uint64_t> file_size(const std::string& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) return io_failure("cannot examine '" + path + "'", path, errno);
  return static_cast<std::uint64_t>(status.st_size);
}

Status make_folders(const std::string& path) {
  if (path.empty() || is_folder(path)) return {};
  P5_OK(make_folders(parent_folder(path)));
  if (::mkdir(path.c_str(), 0777) != 0 && errno != EEXIST)
    return io_failure("cannot create the folder '" + path + "'", path, errno);
  if (!is_folder(path)) return io_failure("cannot create the folder '" + path + "'", path, ENOTDIR);
  return {};
}

Status remove_file(const std::string& path) {
  if (::unlink(path.c_str()) != 0) return io_failure("cannot remove '" + path + "'", path, errno);
  return {};
}

std::string join_path(std::string_view folder, std::string_view name) {
  if (folder.empty()) return std::string(name);
  return std::string(folder) + (folder.back() == '/' ? "" : "/") + std::string(name);
}
std::string parent_folder(std::string_view path) {
  while (path.size() > 1 && path.back() == '/') path.remove_suffix(1);
  const std::size_t slash = path.rfind('/');
  if (slash == std::string_view::npos) return ".";
  return std::string(path.substr(0, std::max<std::size_t>(slash, 1)));
}
std::string file_name(std::string_view path) {
  while (path.size() > 1 && path.back() == '/') path.remove_suffix(1);
  return std::string(path.substr(path.rfind('/') + 1));
}

Result<TemporaryFolder> TemporaryFolder::create() {
  const char* base = ::getenv("TMPDIR");
  std::string pattern = join_path(base && *base ? base : "/tmp", "par5.XXXXXX");
  if (!::mkdtemp(pattern.data()))
    return io_failure("cannot create a temporary folder '" + pattern + "'", pattern, errno);
  return TemporaryFolder(pattern);
}
TemporaryFolder::~TemporaryFolder() {
  if (path_.empty()) return;
  if (const auto names = list_folder(path_))
    for (const std::string& name : *names) ::unlink(join_path(path_, name).c_str());
  ::rmdir(path_.c_str());
}

}  // namespace par5
