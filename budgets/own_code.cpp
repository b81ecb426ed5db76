#include "budgets/own_code.h"

#include <elf.h>
#include <lzma.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <set>

#include "core/file.h"
#include "core/text.h"

namespace par5 {
namespace {

constexpr std::uint64_t kMostSourceBytes = std::uint64_t{1} << 24;

// The quoted includes of a source, in order.
std::vector<std::string> quoted_includes(const std::string& text) {
  std::vector<std::string> includes;
  for (const std::string& line : split(text, '\n')) {
    std::string_view rest = trim(line);
    if (!rest.starts_with("#")) continue;
    rest = trim(rest.substr(1));
    if (!rest.starts_with("include")) continue;
    rest = trim(rest.substr(7));
    if (!rest.starts_with("\"")) continue;
    const std::size_t end = rest.find('"', 1);
    if (end != std::string_view::npos) includes.emplace_back(rest.substr(1, end - 1));
  }
  return includes;
}

class SourceClosure {
 public:
  explicit SourceClosure(const std::string& root) : root_(root) {}

  Result<std::map<std::string, std::string>> run(const std::string& entry) {
    P5_OK(reach(entry));
    // Sources behind reached headers may reach more headers: until nothing new is found.
    for (std::size_t before = 0; before != reached_.size();) {
      before = reached_.size();
      std::set<std::string> folders;
      for (const auto& [file, text] : reached_) folders.insert(parent_folder(file));
      for (const std::string& folder : folders) P5_OK(reach_sources(folder));
    }
    return reached_;
  }

 private:
  Status reach(const std::string& file) {
    if (reached_.count(file) || !file_exists(join_path(root_, file))) return {};
    P5_TRY(std::string text, read_text_file(join_path(root_, file), kMostSourceBytes));
    const auto includes = quoted_includes(text);
    reached_.emplace(file, std::move(text));
    for (const std::string& include : includes) P5_OK(reach(include));
    return {};
  }
  // What a file includes in quotes, directly and through others.
  const std::set<std::string>& included(const std::string& file) {
    const auto [entry, fresh] = included_.try_emplace(file);
    if (!fresh || !file_exists(join_path(root_, file))) return entry->second;
    std::set<std::string> all;
    for (const std::string& include :
         quoted_includes(read_text_file(join_path(root_, file), kMostSourceBytes).value_or(""))) {
      all.insert(include);
      const std::set<std::string> further = included(include);
      all.insert(further.begin(), further.end());
    }
    return included_[file] = std::move(all);
  }
  // Sources of a folder that include a reached header of that folder. The commands' own folder is only the entry.
  Status reach_sources(const std::string& folder) {
    if (folder == "cli") return {};
    P5_TRY(const auto names, list_folder(join_path(root_, folder)));
    for (const std::string& name : names) {
      const std::string file = join_path(folder, name);
      if (!name.ends_with(".cpp") || reached_.count(file)) continue;
      for (const std::string& include : std::set<std::string>(included(file)))
        if (parent_folder(include) == folder && reached_.count(include)) P5_OK(reach(file));
    }
    return {};
  }

  std::string root_;
  std::map<std::string, std::string> reached_;
  std::map<std::string, std::set<std::string>> included_;
};

std::uint64_t xz_size(const std::string& bytes) {
  lzma_options_lzma options{};
  lzma_lzma_preset(&options, 9);
  options.dict_size =
      static_cast<std::uint32_t>(std::clamp<std::size_t>(bytes.size(), LZMA_DICT_SIZE_MIN, std::size_t{1} << 26));
  lzma_filter filters[] = {{LZMA_FILTER_LZMA2, &options}, {LZMA_VLI_UNKNOWN, nullptr}};
  std::vector<std::uint8_t> out(lzma_stream_buffer_bound(bytes.size()));
  std::size_t size = 0;
  const lzma_ret status =
      lzma_stream_buffer_encode(filters, LZMA_CHECK_CRC32, nullptr, reinterpret_cast<const std::uint8_t*>(bytes.data()),
                                bytes.size(), out.data(), &size, out.size());
  return status == LZMA_OK ? size : bytes.size();
}

OwnCode count(const std::string& root, const std::map<std::string, std::string>& files, const std::string& program) {
  OwnCode code;
  code.root = root;
  std::string joined;
  for (const auto& [name, text] : files) {
    code.files.push_back(name);
    code.raw_bytes += text.size();
    joined += name;
    joined += '\0';
    joined += text;
    joined += '\0';
  }
  code.xz_bytes = xz_size(joined);
  if (!program.empty())
    if (const auto bytes = loadable_bytes(program)) code.binary_bytes = *bytes;
  return code;
}

Status read_all(const std::string& root, const std::string& prefix, int depth,
                std::map<std::string, std::string>& files) {
  P5_TRY(const auto names, list_folder(join_path(root, prefix)));
  for (const std::string& name : names) {
    const std::string file = prefix.empty() ? name : join_path(prefix, name);
    if (is_folder(join_path(root, file))) {
      if (depth < 8) P5_OK(read_all(root, file, depth + 1, files));
      continue;
    }
    P5_TRY(files[file], read_text_file(join_path(root, file), kMostSourceBytes));
  }
  return {};
}

}  // namespace

std::uint64_t OwnCode::counted(const std::string& way) const {
  if (way == "xz") return xz_bytes;
  if (way == "binary" && binary_bytes) return *binary_bytes;
  return raw_bytes;
}

Result<OwnCode> own_code(const std::string& root, const std::string& entry, const std::string& program) {
  P5_TRY(const auto files, SourceClosure(root).run(entry));
  if (files.empty()) return usage_error("'" + root + "' is no source tree of par5: it has no " + entry, "--source");
  return count(root, files, program);
}

Result<OwnCode> code_folder(const std::string& root, const std::string& program) {
  std::map<std::string, std::string> files;
  P5_OK(read_all(root, "", 0, files));
  return count(root, files, program);
}

std::string source_tree_of(const std::string& program) {
  std::string folder = parent_folder(program);
  for (int up = 0; up < 6 && !folder.empty() && folder != "/"; ++up, folder = parent_folder(folder))
    if (file_exists(join_path(folder, "cmake/folders.cmake")) && file_exists(join_path(folder, "VERSION")))
      return folder;
  return "";
}

Result<std::uint64_t> loadable_bytes(const std::string& program) {
  P5_TRY(const MappedFile file, MappedFile::open(program));
  const auto bytes = file.bytes();
  Elf64_Ehdr header{};
  if (bytes.size() < sizeof header) return bad_data("'" + program + "' is no program", program, 0);
  std::memcpy(&header, bytes.data(), sizeof header);
  if (std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 || header.e_ident[EI_CLASS] != ELFCLASS64)
    return bad_data("'" + program + "' is no 64-bit ELF program", program, 0);
  std::uint64_t end = 0;
  for (unsigned i = 0; i < header.e_phnum; ++i) {
    Elf64_Phdr segment{};
    const std::uint64_t at = header.e_phoff + std::uint64_t{i} * header.e_phentsize;
    if (header.e_phentsize < sizeof segment || at > bytes.size() || bytes.size() - at < sizeof segment)
      return bad_data("'" + program + "' has a damaged program header", program, at);
    std::memcpy(&segment, bytes.data() + at, sizeof segment);
    if (segment.p_type == PT_LOAD) end = std::max<std::uint64_t>(end, segment.p_offset + segment.p_filesz);
  }
  if (end == 0 || end > bytes.size()) return bad_data("'" + program + "' has no loadable segments", program, 0);
  return end;
}

}  // namespace par5
