// Tables of charges and token shards of other people, read from their files.
#include <algorithm>
#include <charconv>
#include <cstring>
#include <unordered_map>

#include "core/file.h"
#include "core/text.h"
#include "tokenizer/claims.h"
#include "tokenizer/shards/shards.h"

namespace par5 {
namespace {

// The numbers behind a shard header.
Result<std::vector<std::uint16_t>> read_numbers(const std::string& path) {
  P5_TRY(const MappedFile file, MappedFile::open(path));
  const std::span<const std::byte> bytes = file.bytes();
  std::int32_t header[3] = {};
  if (bytes.size() < kShardHeaderBytes)
    return bad_data("the file is shorter than a shard's header of 1024 bytes", path, bytes.size());
  std::memcpy(header, bytes.data(), sizeof header);
  if (header[0] != kShardMagic || header[1] != kShardVersion)
    return bad_data("the file does not begin like a shard (20240520, version 1)", path, 0);
  const std::size_t count = static_cast<std::size_t>(std::max(header[2], 0));
  if (header[2] < 0 || bytes.size() != kShardHeaderBytes + 2 * count)
    return bad_data("the header counts " + std::to_string(header[2]) + " numbers, the file holds " +
                        std::to_string((bytes.size() - kShardHeaderBytes) / 2),
                    path, 8);
  std::vector<std::uint16_t> numbers(count);
  if (count > 0) std::memcpy(numbers.data(), bytes.data() + kShardHeaderBytes, 2 * count);
  return numbers;
}

std::optional<std::uint32_t> integer(std::string_view text) {
  std::uint32_t value = 0;
  const auto read = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || read.ec != std::errc() || read.ptr != text.data() + text.size()) return std::nullopt;
  return value;
}

enum class Column { none, id, piece, bytes, leading_space };

Column column_of(std::string_view name) {
  for (const char* known : {"id", "token_id", "token"})
    if (name == known) return Column::id;
  for (const char* known : {"piece", "text", "surface"})
    if (name == known) return Column::piece;
  for (const char* known : {"bytes", "base_bytes", "byte_count", "n_bytes", "num_bytes", "charged_bytes"})
    if (name == known) return Column::bytes;
  return name == "leading_space" || name == "has_leading_space" ? Column::leading_space : Column::none;
}

class TableReader {
 public:
  TableReader(const std::string& path, const Tokenizer& tokenizer)
      : path_(path), tokenizer_(tokenizer), seen_(tokenizer.vocab(), false) {
    charges_.bytes.resize(tokenizer.vocab());
    const auto& pieces = tokenizer.data().pieces;
    for (std::size_t id = 0; id < pieces.size(); ++id) ids_.emplace(pieces[id].piece, id);
  }

  Result<PieceCharges> read(std::string_view text) {
    separator_ = text.find('\t') == std::string_view::npos ? ',' : '\t';
    for (std::size_t begin = 0; begin < text.size();) {
      const std::size_t end = std::min(text.find('\n', begin), text.size());
      std::string_view line = text.substr(begin, end - begin);
      if (line.ends_with('\r')) line.remove_suffix(1);
      begin = end + 1;
      ++line_;
      if (!line.empty()) P5_OK(row(line));
    }
    const auto missing = std::count(seen_.begin(), seen_.end(), false);
    if (missing > 0)
      return bad_data("the table has no row for " + std::to_string(missing) + " of the tokenizer's " +
                          std::to_string(seen_.size()) + " pieces",
                      path_);
    return std::move(charges_);
  }

 private:
  tl::unexpected<Error> wrong(const std::string& what) const {
    return bad_data("line " + std::to_string(line_) + " of the table " + what, path_);
  }

  // A piece may hold the separator where it is a comma: only the first and last columns are cut there.
  Status row(std::string_view line) {
    std::vector<std::string> fields = split(line, separator_);
    if (columns_.empty()) {
      std::vector<Column> named;
      for (const std::string& field : fields) named.push_back(column_of(field));
      if (std::count(named.begin(), named.end(), Column::bytes) == 1 && !integer(fields.back()).has_value()) {
        columns_ = named;
        if (std::count(named.begin(), named.end(), Column::leading_space) > 0)
          charges_.leading_space.resize(charges_.bytes.size());
        return {};
      }
      if (fields.size() < 2) return wrong("has no columns: id, piece and bytes, by tabs or commas");
      columns_ = fields.size() == 2
                     ? std::vector<Column>{integer(fields[0]) ? Column::id : Column::piece, Column::bytes}
                     : std::vector<Column>{Column::id, Column::piece, Column::bytes};
    }
    if (fields.size() > columns_.size() && columns_.size() == 3 && separator_ == ',')
      fields = {fields.front(),
                std::string(line.substr(fields.front().size() + 1,
                                        line.size() - fields.front().size() - fields.back().size() - 2)),
                fields.back()};
    if (fields.size() < columns_.size())
      return wrong("has " + std::to_string(fields.size()) + " columns, not " + std::to_string(columns_.size()));
    std::optional<std::size_t> id;
    std::optional<std::uint32_t> bytes, space;
    for (std::size_t c = 0; c < columns_.size(); ++c) {
      if (columns_[c] == Column::id) {
        const auto value = integer(fields[c]);
        if (!value || *value >= seen_.size())
          return wrong("has the id '" + fields[c] + "', which is none of the tokenizer's " +
                       std::to_string(seen_.size()));
        id = *value;
      } else if (columns_[c] == Column::bytes) {
        bytes = integer(fields[c]);
      } else if (columns_[c] == Column::leading_space) {
        space = fields[c] == "True" || fields[c] == "true"     ? 1
                : fields[c] == "False" || fields[c] == "false" ? 0
                                                               : integer(fields[c]);
        if (!space || *space > 1) return wrong("says neither 0 nor 1 of the leading space");
      } else if (columns_[c] == Column::piece && !id) {
        const auto found = ids_.find(fields[c]);
        if (found == ids_.end()) return wrong("names a piece that the tokenizer does not have: " + quoted(fields[c]));
        id = found->second;
      }
    }
    if (!id || !bytes) return wrong(!id ? "names no piece" : "has no whole number of bytes");
    if (seen_[*id]) return wrong("gives piece " + std::to_string(*id) + " a second time");
    seen_[*id] = true;
    charges_.bytes[*id] = *bytes;
    if (space) charges_.leading_space[*id] = static_cast<std::uint8_t>(*space);
    return {};
  }

  const std::string& path_;
  const Tokenizer& tokenizer_;
  PieceCharges charges_;
  std::vector<bool> seen_;
  std::unordered_map<std::string, std::size_t> ids_;
  std::vector<Column> columns_;
  char separator_ = '\t';
  std::size_t line_ = 0;
};

}  // namespace

Status read_charges(const std::string& path, const Tokenizer& tokenizer, TextClaim& claim) {
  if (path.ends_with(".bin")) {
    P5_TRY(std::vector<std::uint16_t> numbers, read_numbers(path));
    if (numbers.size() == tokenizer.vocab())
      claim.pieces = PieceCharges{{numbers.begin(), numbers.end()}, {}};
    else
      claim.token_bytes = std::move(numbers);
    return {};
  }
  P5_TRY(const std::string text, read_text_file(path, std::uint64_t{1} << 26));
  P5_TRY(claim.pieces, TableReader(path, tokenizer).read(text));
  return {};
}

Result<std::vector<std::uint16_t>> read_token_shards(const std::string& path) {
  std::vector<std::string> files = {path};
  if (is_folder(path)) {
    files.clear();
    P5_TRY(const auto names, list_folder(path));
    for (const std::string& name : names)
      if (name.ends_with(".bin")) files.push_back(join_path(path, name));
    if (files.empty()) return usage_error("the folder '" + path + "' holds no .bin file");
  }
  std::vector<std::uint16_t> tokens;
  for (const std::string& file : files) {
    P5_TRY(const std::vector<std::uint16_t> part, read_numbers(file));
    tokens.insert(tokens.end(), part.begin(), part.end());
  }
  return tokens;
}

}  // namespace par5
