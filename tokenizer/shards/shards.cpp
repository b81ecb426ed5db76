#include "tokenizer/shards/shards.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <nlohmann/json.hpp>
#include <numeric>

#include "core/hash.h"

namespace par5 {
namespace {

using Json = nlohmann::json;
static_assert(std::endian::native == std::endian::little, "shards are mapped as they lie on disk: little-endian");

std::string id_list(const std::vector<std::uint8_t>& flags) {
  std::string text = "[";
  for (std::size_t id = 0; id < flags.size(); ++id)
    if (flags[id]) text += (text.size() > 1 ? "," : "") + std::to_string(id);
  return text + "]";
}

std::vector<std::uint8_t> flags_from(const Json& ids, std::size_t vocab) {
  std::vector<std::uint8_t> flags(vocab, 0);
  for (const Json& id : ids) flags.at(id.get<std::size_t>()) = 1;
  return flags;
}

// nlohmann's exceptions (a missing key, a wrong type, an id out of range) end here as std::exception.
ShardManifest manifest_from(const Json& json) {
  ShardManifest manifest;
  for (const Json& file : json.at("files")) {
    manifest.files.push_back(file.at("name").get<std::string>());
    manifest.file_tokens.push_back(file.at("tokens").get<std::uint64_t>());
  }
  manifest.tokens = json.at("tokens").get<std::uint64_t>();
  manifest.documents = json.at("documents").get<std::uint64_t>();
  manifest.bytes = json.at("bytes").get<std::uint64_t>();
  manifest.source_bytes = json.at("source_bytes").get<std::uint64_t>();
  manifest.content_sha256 = json.at("content_sha256").get<std::string>();
  manifest.tokenizer_sha256 = json.at("tokenizer_sha256").get<std::string>();
  const auto bos = json.at("bos").get<std::uint64_t>();
  if (!json.at("shuffle_seed").is_null()) manifest.shuffle_seed = json.at("shuffle_seed").get<std::uint64_t>();
  for (const Json& bytes : json.at("token_bytes")) {
    const auto value = bytes.get<std::uint64_t>();
    if (value > 65535) throw std::out_of_range("a token is charged more than 65535 bytes");
    manifest.token_bytes.bytes.push_back(static_cast<std::uint16_t>(value));
  }
  const std::size_t vocab = manifest.token_bytes.vocab();
  if (vocab == 0 || vocab > 65536) throw std::out_of_range("the vocabulary has " + std::to_string(vocab) + " tokens");
  if (bos >= vocab) throw std::out_of_range("BOS is beyond the vocabulary");
  manifest.bos = static_cast<std::uint16_t>(bos);
  manifest.token_bytes.leading_space = flags_from(json.at("leading_space"), vocab);
  manifest.token_bytes.boundary = flags_from(json.at("boundary"), vocab);
  for (const Json& row : json.at("document_list"))
    manifest.document_list.push_back({row.at(0).get<std::string>(), row.at(1).get<std::uint64_t>(),
                                      row.at(2).get<std::uint64_t>(), row.at(3).get<std::uint64_t>()});
  return manifest;
}

// What is inconsistent, or an empty string.
std::string inconsistency(const ShardManifest& manifest) {
  for (const std::string& name : manifest.files)
    if (name.empty() || name.find('/') != std::string::npos || name[0] == '.')
      return "'" + name + "' is not a plain file name";
  std::uint64_t tokens = 0;
  for (const std::uint64_t count : manifest.file_tokens) {
    if (count > 0x7fffffff) return "a file of " + std::to_string(count) + " tokens is not possible";
    tokens += count;
  }
  if (tokens != manifest.tokens)
    return "its files have " + std::to_string(tokens) + " tokens, not " + std::to_string(manifest.tokens);
  if (manifest.document_list.size() != manifest.documents)
    return "it lists " + std::to_string(manifest.document_list.size()) + " documents, not " +
           std::to_string(manifest.documents);
  ShardDocument sum;
  for (const ShardDocument& document : manifest.document_list) {
    sum.tokens += document.tokens;
    sum.bytes += document.bytes;
    sum.source_bytes += document.source_bytes;
  }
  if (sum.tokens != manifest.tokens || sum.bytes != manifest.bytes || sum.source_bytes != manifest.source_bytes)
    return "its documents do not sum to its totals";
  return {};
}

Status check_header(std::span<const std::byte> bytes, std::uint64_t expected, const std::string& path) {
  if (bytes.size() < kShardHeaderBytes)
    return bad_data("the shard has " + std::to_string(bytes.size()) + " bytes; its header alone takes 1024", path,
                    bytes.size());
  std::int32_t header[3];
  std::memcpy(header, bytes.data(), sizeof header);
  if (header[0] != kShardMagic)
    return bad_data("this is not a token shard: its magic is " + std::to_string(header[0]) + ", not 20240520", path, 0);
  if (header[1] != kShardVersion)
    return bad_data("the shard has version " + std::to_string(header[1]) + "; par5 reads version 1", path, 4);
  const std::uint64_t held = (bytes.size() - kShardHeaderBytes) / 2;
  if (header[2] < 0 || bytes.size() != kShardHeaderBytes + 2 * static_cast<std::uint64_t>(header[2]))
    return bad_data("the shard's header counts " + std::to_string(header[2]) + " tokens but the file holds " +
                        std::to_string(held) + " (" + std::to_string(bytes.size()) + " bytes)",
                    path, 8);
  if (held != expected)
    return bad_data(
        "the shard holds " + std::to_string(held) + " tokens; the manifest says " + std::to_string(expected), path, 8);
  return {};
}

}  // namespace

std::string manifest_json(const ShardManifest& manifest) {
  const auto number = [](std::uint64_t value) { return std::to_string(value); };
  std::string text =
      "{\n\"schema\": 1,\n\"format\": \"20240520\",\n\"tokens\": " + number(manifest.tokens) +
      ",\n\"documents\": " + number(manifest.documents) + ",\n\"bytes\": " + number(manifest.bytes) +
      ",\n\"source_bytes\": " + number(manifest.source_bytes) + ",\n\"content_sha256\": \"" + manifest.content_sha256 +
      "\",\n\"tokenizer_sha256\": \"" + manifest.tokenizer_sha256 + "\",\n\"bos\": " + number(manifest.bos) +
      ",\n\"shuffle_seed\": " + (manifest.shuffle_seed ? number(*manifest.shuffle_seed) : "null") + ",\n\"files\": [";
  for (std::size_t i = 0; i < manifest.files.size(); ++i)
    text +=
        std::string(i ? ",\n" : "\n") + Json({{"name", manifest.files[i]}, {"tokens", manifest.file_tokens[i]}}).dump();
  text += "],\n\"token_bytes\": " + Json(manifest.token_bytes.bytes).dump();
  text += ",\n\"leading_space\": " + id_list(manifest.token_bytes.leading_space);
  text += ",\n\"boundary\": " + id_list(manifest.token_bytes.boundary) + ",\n\"document_list\": [";
  for (std::size_t i = 0; i < manifest.document_list.size(); ++i) {
    const ShardDocument& document = manifest.document_list[i];
    text += std::string(i ? ",\n" : "\n") + "[\"" + document.sha256 + "\"," + number(document.tokens) + "," +
            number(document.bytes) + "," + number(document.source_bytes) + "]";
  }
  return text + "]\n}\n";
}

Result<ShardManifest> read_manifest(const std::string& folder) {
  const std::string path = join_path(folder, kManifestName);
  if (is_folder(folder) && !file_exists(path))
    return tl::unexpected(Error{
        ErrorCode::io,
        "the folder '" + folder + "' has no manifest.json, so it is no folder of shards; make one with `par5 shard`",
        path,
        {},
        {}});
  P5_TRY(const std::string text, read_text_file(path));
  try {
    ShardManifest manifest = manifest_from(Json::parse(text));
    if (const std::string fault = inconsistency(manifest); !fault.empty())
      return bad_data("the shard manifest is inconsistent: " + fault, path);
    return manifest;
  } catch (const Json::parse_error& error) {
    return bad_data("the shard manifest is not well-formed JSON", path, error.byte);
  } catch (const std::exception& error) {
    return bad_data(std::string("the shard manifest is damaged: ") + error.what(), path);
  }
}

Result<ShardReader> ShardReader::open(const std::string& folder) {
  ShardReader reader;
  P5_TRY(reader.manifest_, read_manifest(folder));
  const ShardManifest& manifest = reader.manifest_;
  const TokenBytes& table = manifest.token_bytes;
  std::uint64_t position = 0, documents = 0, charged = 0;
  std::uint16_t previous = manifest.bos;
  for (std::size_t i = 0; i < manifest.files.size(); ++i) {
    const std::string path = join_path(folder, manifest.files[i]);
    P5_TRY(auto file, MappedFile::open(path));
    P5_OK(check_header(file.bytes(), manifest.file_tokens[i], path));
    const auto* tokens = reinterpret_cast<const std::uint16_t*>(file.bytes().data() + kShardHeaderBytes);
    for (std::uint64_t t = 0; t < manifest.file_tokens[i]; ++t) {
      if (tokens[t] >= table.vocab())
        return bad_data(
            "token id " + std::to_string(tokens[t]) + " is beyond the vocabulary of " + std::to_string(table.vocab()),
            path, kShardHeaderBytes + 2 * t);
      documents += tokens[t] == manifest.bos;
      charged += table.charge(previous, tokens[t]);
      previous = tokens[t];
    }
    reader.starts_.push_back(position);
    position += manifest.file_tokens[i];
    reader.files_.push_back(std::move(file));
  }
  if (documents != manifest.documents || charged != manifest.bytes)
    return bad_data("the shards hold " + std::to_string(documents) + " documents of " + std::to_string(charged) +
                        " charged bytes; the manifest says " + std::to_string(manifest.documents) + " of " +
                        std::to_string(manifest.bytes),
                    join_path(folder, kManifestName));
  return reader;
}

void ShardReader::read(std::uint64_t position, std::span<std::uint16_t> out) const {
  std::size_t file =
      static_cast<std::size_t>(std::upper_bound(starts_.begin(), starts_.end(), position) - starts_.begin());
  for (file -= file > 0; !out.empty(); ++file) {
    const std::uint64_t skip = position - starts_[file];
    const std::size_t count =
        static_cast<std::size_t>(std::min<std::uint64_t>(manifest_.file_tokens[file] - skip, out.size()));
    std::memcpy(out.data(), files_[file].bytes().data() + kShardHeaderBytes + 2 * skip, 2 * count);
    out = out.subspan(count);
    position += count;
  }
}

std::string ShardReader::content_sha256() const {
  Sha256 hash;
  for (const MappedFile& file : files_) hash.update(file.bytes().subspan(kShardHeaderBytes));
  return hex(hash.finish());
}

}  // namespace par5
