// lrzip's ZPAQ, by the external program: never used unless asked for by name. Its exit status proves nothing (it has
// been seen to write damaged files and report success), so what it stored counts only once it has decoded to the same.
#include <sys/resource.h>

#include <algorithm>
#include <cstring>

#include "archive/codec.h"
#include "archive/limited_program.h"
#include "core/file.h"
#include "core/text.h"

namespace par5::codec_detail {
namespace {

// An .lrz file (format 0.6) begins with 24 bytes that the decoded size implies: magic, version, size, no LZMA
// properties, MD5 at the end, not encrypted. They are not stored, so no stream can choose them.
constexpr std::size_t kHeader = 24;
std::vector<std::byte> header(std::size_t raw_bytes) {
  std::vector<std::byte> bytes(kHeader, std::byte{0});
  std::memcpy(bytes.data(), "LRZI", 4);
  bytes[5] = std::byte{6};
  for (std::size_t i = 0; i < 8; ++i) bytes[6 + i] = static_cast<std::byte>(std::uint64_t{raw_bytes} >> 8 * i & 255);
  bytes[21] = std::byte{1};
  return bytes;
}

constexpr std::uint64_t kMemory = std::uint64_t{2} << 30;  // address space; it uses 0.3 GB and a few times the data

// lrzip with all that changes its bytes pinned: one thread, one window, no configuration file, no test that stores what
// looks random. It would also make itself as nice as can be.
Result<int> run_lrzip(const std::string& folder, std::vector<std::string> arguments, std::uint64_t raw_bytes,
                      const std::string& output = {}) {
  LimitedProgram program;
  program.path = find_program("lrzip");
  if (program.path.empty())
    return missing_tool("the codec 'lrzip' is an external program, and there is no 'lrzip' in $PATH: install it");
  program.arguments = {"-p", "1", "-w", "1", "-N", std::to_string(::getpriority(PRIO_PROCESS, 0))};
  program.arguments.insert(program.arguments.end(), arguments.begin(), arguments.end());
  program.environment = {"LRZIP=NOCONFIG", "PATH=/usr/bin:/bin", "TMPDIR=" + folder, "TMP=" + folder};
  program.folder = folder;
  program.output = output;
  // It takes about 6 s a megabyte.
  program.processor_seconds = 60 + 60 * static_cast<double>(raw_bytes) / (1 << 20);
  program.seconds = 30 * program.processor_seconds;
  program.memory_bytes = kMemory + 16 * raw_bytes;
  program.file_bytes = 2 * raw_bytes + (1 << 20);
  return run_limited(program);
}

}  // namespace

Result<std::vector<std::byte>> compress_lrzip(std::span<const std::byte> raw) {
  P5_TRY(const TemporaryFolder folder, TemporaryFolder::create());
  P5_OK(write_file(join_path(folder.path(), "raw"), raw, Overwrite::no));
  P5_TRY(const int status, run_lrzip(folder.path(), {"-Q", "-z", "-L", "9", "-T", "-o", "raw.lrz", "raw"}, raw.size()));
  const auto file = status == 0 ? read_file(join_path(folder.path(), "raw.lrz"), 2 * raw.size() + (1 << 20))
                                : Result<std::vector<std::byte>>(bad_data("lrzip failed"));
  const std::vector<std::byte> start = header(raw.size());
  if (!file || file->size() < kHeader || !std::equal(start.begin(), start.end(), file->begin()))
    return bad_data("lrzip ended with status " + std::to_string(status) + " and without a file of its format 0.6");
  std::vector<std::byte> stored(file->begin() + kHeader, file->end());
  std::vector<std::byte> again(raw.size());
  const Status decoded = decompress_lrzip(stored, again);
  if (!decoded) return tl::unexpected(decoded.error());
  if (!std::equal(raw.begin(), raw.end(), again.begin())) return bad_data("lrzip decodes its own file to other bytes");
  return stored;
}

Status decompress_lrzip(std::span<const std::byte> stored, std::span<std::byte> out) {
  std::vector<std::byte> file = header(out.size());
  file.insert(file.end(), stored.begin(), stored.end());
  P5_TRY(const TemporaryFolder folder, TemporaryFolder::create());
  P5_OK(write_file(join_path(folder.path(), "raw.lrz"), file, Overwrite::no));
  P5_TRY(const int status, run_lrzip(folder.path(), {"-Q", "-d", "-o", "raw", "raw.lrz"}, out.size()));
  if (status != 0) return bad_data("lrzip cannot decode a stream (exit status " + std::to_string(status) + ")");
  const auto raw = read_file(join_path(folder.path(), "raw"), out.size());
  if (!raw || raw->size() != out.size()) return bad_data("an lrzip stream decodes to another size than belongs there");
  std::copy(raw->begin(), raw->end(), out.begin());
  return {};
}

std::string lrzip_version() {
  const auto folder = TemporaryFolder::create();
  if (!folder || !run_lrzip(folder->path(), {"-V"}, 0, "version")) return "unknown";
  const auto text = read_text_file(join_path(folder->path(), "version"), 4096);
  const std::string_view before = "lrzip version ";
  const std::size_t at = text ? text->find(before) : std::string::npos;
  if (at == std::string::npos) return "unknown";
  const std::size_t from = at + before.size();
  return text->substr(from, text->find_first_not_of("0123456789.", from) - from);
}

}  // namespace par5::codec_detail
