#include "tokenizer/shards/shard_writer.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>

namespace par5 {
namespace {

bool is_shard_file(const std::string& name) {
  return name == kManifestName ||
         (name.size() > 10 && name.substr(0, 6) == "shard_" && name.substr(name.size() - 4) == ".bin");
}

// "DIR/" and "DIR" are the same target; the work folder must lie beside it, not in it.
std::string without_trailing_slashes(std::string path) {
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  return path;
}

Status check_target(const std::string& folder, Overwrite overwrite) {
  if (!file_exists(folder)) return {};
  if (!is_folder(folder)) return usage_error("the output '" + folder + "' exists and is not a folder");
  P5_TRY(const auto names, list_folder(folder));
  if (names.empty()) return {};
  if (overwrite == Overwrite::no) return check_output(folder, overwrite);
  for (const std::string& name : names)
    if (!is_shard_file(name))
      return usage_error("the output folder '" + folder + "' holds '" + name +
                         "', which is not a shard; name another folder");
  return {};
}

void remove_folder(const std::string& folder) {
  if (const auto names = list_folder(folder))
    for (const std::string& name : *names) ::unlink(join_path(folder, name).c_str());
  ::rmdir(folder.c_str());
}

Result<std::string> make_folder_beside(const std::string& target) {
  std::string pattern = target + ".part.XXXXXX";
  if (!::mkdtemp(pattern.data())) return io_failure("cannot create a folder beside '" + target + "'", target, errno);
  const mode_t mask = ::umask(0);
  ::umask(mask);
  ::chmod(pattern.c_str(), 0777 & ~mask);
  return pattern;
}

}  // namespace

Result<ShardWriter> ShardWriter::create(const std::string& folder, Options options) {
  if (options.shard_tokens < 1 || options.shard_tokens > 0x7fffffff)
    return usage_error("a shard holds 1 to 2147483647 tokens, not " + std::to_string(options.shard_tokens));
  ShardWriter writer;
  writer.target_ = without_trailing_slashes(folder);
  P5_OK(check_target(writer.target_, options.overwrite));
  P5_OK(make_folders(parent_folder(writer.target_)));
  P5_TRY(writer.work_, make_folder_beside(writer.target_));
  writer.manifest_.bos = options.bos;
  writer.manifest_.shuffle_seed = options.shuffle_seed;
  writer.manifest_.token_bytes = options.token_bytes;
  writer.manifest_.tokenizer_sha256 = options.tokenizer_sha256;
  writer.options_ = std::move(options);
  writer.content_ = std::make_unique<Sha256>();
  return writer;
}

ShardWriter::~ShardWriter() {
  if (!work_.empty()) remove_folder(work_);
}

Status ShardWriter::add(std::span<const std::uint16_t> tokens, std::string sha256, std::uint64_t source_bytes) {
  const TokenBytes& table = options_.token_bytes;
  if (tokens.empty() || tokens[0] != options_.bos)
    return internal_error("a document to be sharded does not begin with BOS");
  ShardDocument document{std::move(sha256), tokens.size(), 0, source_bytes};
  std::uint16_t previous = options_.bos;
  for (const std::uint16_t token : tokens) {
    if (token >= table.vocab()) return internal_error("token " + std::to_string(token) + " is beyond the vocabulary");
    document.bytes += table.charge(previous, token);
    previous = token;
  }
  while (!tokens.empty()) {
    const std::size_t room = static_cast<std::size_t>(options_.shard_tokens) - pending_.size();
    const auto part = tokens.first(std::min(room, tokens.size()));
    pending_.insert(pending_.end(), part.begin(), part.end());
    tokens = tokens.subspan(part.size());
    if (pending_.size() == options_.shard_tokens) P5_OK(flush());
  }
  manifest_.tokens += document.tokens;
  manifest_.documents += 1;
  manifest_.bytes += document.bytes;
  manifest_.source_bytes += document.source_bytes;
  manifest_.document_list.push_back(std::move(document));
  return {};
}

Status ShardWriter::flush() {
  char name[40];
  std::snprintf(name, sizeof name, "shard_%06zu.bin", manifest_.files.size());
  std::array<std::int32_t, kShardHeaderBytes / 4> header{};
  header[0] = kShardMagic;
  header[1] = kShardVersion;
  header[2] = static_cast<std::int32_t>(pending_.size());
  const auto tokens = std::as_bytes(std::span(pending_));
  P5_TRY(auto file, AtomicFile::create(join_path(work_, name), Overwrite::no));
  P5_OK(file.write(std::as_bytes(std::span(header))));
  P5_OK(file.write(tokens));
  P5_OK(file.commit());
  content_->update(tokens);
  manifest_.files.emplace_back(name);
  manifest_.file_tokens.push_back(pending_.size());
  pending_.clear();
  return {};
}

Result<ShardManifest> ShardWriter::finish() {
  if (!pending_.empty()) P5_OK(flush());
  manifest_.content_sha256 = hex(content_->finish());
  P5_OK(write_file(join_path(work_, kManifestName), manifest_json(manifest_), Overwrite::no));
  P5_OK(check_target(target_, options_.overwrite));
  std::string old;
  if (options_.overwrite == Overwrite::yes && file_exists(target_)) {
    P5_TRY(old, make_folder_beside(target_));
    // rename() puts a folder over an empty one, so the old shards step aside in one step.
    if (::rename(target_.c_str(), old.c_str()) != 0)
      return io_failure("cannot replace '" + target_ + "'", target_, errno);
  }
  if (::rename(work_.c_str(), target_.c_str()) != 0) {
    const int failure = errno;
    if (!old.empty()) (void)::rename(old.c_str(), target_.c_str());
    return io_failure("cannot rename the finished folder to '" + target_ + "'", target_, failure);
  }
  work_.clear();
  if (!old.empty()) remove_folder(old);
  return std::move(manifest_);
}

}  // namespace par5
