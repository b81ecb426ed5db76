#include "tokenizer/model_file.h"

#include <algorithm>
#include <cstdio>
#include <set>
#include <span>

#include "core/file.h"
#include "core/hash.h"
#include "core/protobuf.h"
#include "core/text.h"
#include "tokenizer/normalizer_map.h"
#include "tokenizer/pieces/pieces.h"
#include "tokenizer/shards/token_bytes.h"

namespace par5 {
namespace {

constexpr std::uint64_t kMaxModelBytes = std::uint64_t{64} << 20;
const std::vector<std::string> kModelTypes = {"unigram", "bpe", "word", "char"};  // SentencePiece's numbers 1 … 4

enum class OptionKind { boolean, integer, number, text, model_type };
struct Option {
  std::uint32_t field;
  const char* name;
  OptionKind kind;
};
// The training options that say how a vocabulary came about (sentencepiece_model.proto, TrainerSpec).
constexpr Option kOptions[] = {
    {3, "model_type", OptionKind::model_type},
    {4, "vocab_size", OptionKind::integer},
    {10, "character_coverage", OptionKind::number},
    {11, "input_sentence_size", OptionKind::integer},
    {16, "num_threads", OptionKind::integer},
    {18, "max_sentence_length", OptionKind::integer},
    {20, "max_sentencepiece_length", OptionKind::integer},
    {21, "split_by_unicode_script", OptionKind::boolean},
    {22, "split_by_whitespace", OptionKind::boolean},
    {23, "split_by_number", OptionKind::boolean},
    {25, "split_digits", OptionKind::boolean},
    {26, "allow_whitespace_only_pieces", OptionKind::boolean},
    {35, "byte_fallback", OptionKind::boolean},
};

Status parse_trainer(const ProtobufField& message, ModelFile& model) {
  TokenizerData& tokenizer = model.tokenizer;
  ProtobufField field;
  for (ProtobufReader reader(message.bytes, message.offset);;) {
    P5_TRY(const bool more, reader.next(field));
    if (!more) return {};
    for (const Option& option : kOptions) {
      if (option.field != field.number || field.wire == 2) continue;
      std::string value = std::to_string(static_cast<std::int64_t>(field.value));
      if (option.kind == OptionKind::boolean) value = field.value ? "true" : "false";
      if (option.kind == OptionKind::number) value = fixed(static_cast<double>(field.as_float()), 6);
      if (option.kind == OptionKind::model_type) {
        if (field.value < 1 || field.value > kModelTypes.size())
          return bad_data("the model type " + value + " is unknown", {}, field.offset);
        value = tokenizer.model_type = kModelTypes[field.value - 1];
      }
      model.options.emplace_back(option.name, value);
    }
    if (field.number == 35 && field.wire == 0) tokenizer.byte_fallback = field.value != 0;
    if (field.number == 44 && field.wire == 2) tokenizer.unknown_surface = std::string(field.bytes);
    if (field.number == 24 && field.wire == 0 && field.value)
      return bad_data(
          "the model writes spaces at the ends of pieces (treat_whitespace_as_suffix), which par5 does not support", {},
          field.offset);
    if (field.number == 46 && field.wire == 2 && !field.bytes.empty() && field.bytes != "<s>")
      return bad_data("the model's BOS piece is " + quoted(field.bytes) + "; par5 supports \"<s>\"", {}, field.offset);
  }
}

Status parse_normalizer(const ProtobufField& message, TokenizerData& tokenizer, std::string& map) {
  ProtobufField field;
  for (ProtobufReader reader(message.bytes, message.offset);;) {
    P5_TRY(const bool more, reader.next(field));
    if (!more) return {};
    if (field.number == 1 && field.wire == 2) tokenizer.normalizer = std::string(field.bytes);
    if (field.number == 2 && field.wire == 2) map = std::string(field.bytes);
    if (field.number == 3 && field.wire == 0) tokenizer.add_dummy_prefix = field.value != 0;
    if (field.number == 4 && field.wire == 0) tokenizer.remove_extra_whitespaces = field.value != 0;
    if (field.number == 5 && field.wire == 0) tokenizer.escape_whitespaces = field.value != 0;
  }
}

Status refuse_denormalizer(const ProtobufField& message) {
  ProtobufField field;
  for (ProtobufReader reader(message.bytes, message.offset);;) {
    P5_TRY(const bool more, reader.next(field));
    if (!more) return {};
    if (field.number == 2 && field.wire == 2 && !field.bytes.empty())
      return bad_data("the model has a denormaliser, which par5 does not support", {}, field.offset);
  }
}

// Keeps a built-in map by name and any other as it is.
Status name_normalizer(TokenizerData& tokenizer, const std::string& map) {
  if (map.empty()) {
    tokenizer.normalizer = "identity";
    return {};
  }
  tokenizer.normalizer_sha256 = sha256_hex(as_bytes(map));
  std::vector<std::string> names = builtin_normalizers();
  // The file's own name first: maps are made on demand.
  std::stable_partition(names.begin(), names.end(),
                        [&](const std::string& name) { return name == tokenizer.normalizer; });
  for (const std::string& name : names) {
    P5_TRY(const BuiltinMap* builtin, builtin_map(name));
    if (builtin->sha256 != tokenizer.normalizer_sha256) continue;
    tokenizer.normalizer = name;
    return {};
  }
  tokenizer.normalizer.clear();
  tokenizer.normalizer_map.assign(map.begin(), map.end());
  return check_normalizer_map(map, {});
}

Result<ModelFile> parse(std::string_view bytes) {
  ModelFile model;
  model.bytes = bytes.size();
  // protobuf's defaults, where they differ from ours.
  TokenizerData& tokenizer = model.tokenizer;
  tokenizer.model_type = "unigram";
  tokenizer.add_dummy_prefix = true;
  tokenizer.byte_fallback = false;
  tokenizer.unknown_surface = " \xe2\x81\x87 ";
  std::string map;
  ProtobufField field;
  for (ProtobufReader reader(bytes);;) {
    P5_TRY(const bool more, reader.next(field));
    if (!more) break;
    if (field.wire != 2) continue;
    if (field.number == 1) {
      P5_TRY(auto piece, parse_piece(field));
      model.tokenizer.pieces.push_back(std::move(piece));
    }
    if (field.number == 2) P5_OK(parse_trainer(field, model));
    if (field.number == 3) P5_OK(parse_normalizer(field, tokenizer, map));
    if (field.number == 5) P5_OK(refuse_denormalizer(field));
  }
  P5_OK(check_tokenizer(tokenizer, {}));
  P5_OK(name_normalizer(tokenizer, map));
  return model;
}

}  // namespace

Status compact_normalizer(TokenizerData& tokenizer) {
  if (tokenizer.normalizer_map.empty() || !tokenizer.normalizer.empty()) return {};
  const std::string map(tokenizer.normalizer_map.begin(), tokenizer.normalizer_map.end());
  for (const std::string& name : builtin_normalizers()) {
    P5_TRY(auto changes, normalizer_changes(name, map));
    if (changes.empty()) continue;
    tokenizer.normalizer = name;
    tokenizer.normalizer_map = std::move(changes);
    return {};
  }
  return {};
}

namespace {

Result<std::string> normalizer_spec(const TokenizerData& tokenizer) {
  std::string spec;
  std::string_view map(reinterpret_cast<const char*>(tokenizer.normalizer_map.data()), tokenizer.normalizer_map.size());
  if (tokenizer.normalizer_map.empty() && !tokenizer.normalizer_sha256.empty()) {
    const auto& names = builtin_normalizers();
    if (std::find(names.begin(), names.end(), tokenizer.normalizer) == names.end())
      return bad_data("the tokenizer's normaliser " + quoted(tokenizer.normalizer) +
                      " is not built in and its map is missing");
    P5_TRY(const BuiltinMap* builtin, builtin_map(tokenizer.normalizer));
    map = builtin->map;
  }
  std::string changed;
  if (!tokenizer.normalizer_map.empty() && !tokenizer.normalizer.empty()) {
    P5_TRY(changed, changed_map(tokenizer.normalizer, tokenizer.normalizer_map));
    map = changed;
  }
  const std::string hash = map.empty() ? std::string() : sha256_hex(as_bytes(map));
  if (hash != tokenizer.normalizer_sha256)
    return bad_data("the tokenizer's normaliser " + quoted(tokenizer.normalizer) + " has the hash " +
                    tokenizer.normalizer_sha256.substr(0, 12) + "…, the one here " + hash.substr(0, 12) +
                    "…: this SentencePiece has another version of it; give the original with --tokenizer FILE");
  if (!tokenizer.normalizer_map.empty() && tokenizer.normalizer.empty()) P5_OK(check_normalizer_map(map, {}));
  put_protobuf(
      spec, 1,
      tokenizer.normalizer.empty() ? std::string_view("user_defined") : std::string_view(tokenizer.normalizer));
  put_protobuf(spec, 2, map);
  put_protobuf(spec, 3, std::uint64_t{tokenizer.add_dummy_prefix});
  put_protobuf(spec, 4, std::uint64_t{tokenizer.remove_extra_whitespaces});
  put_protobuf(spec, 5, std::uint64_t{tokenizer.escape_whitespaces});
  return spec;
}

void put_piece(std::string& model, const TokenizerPiece& piece) {
  std::string message;
  put_protobuf(message, 1, std::string_view(piece.piece));
  put_protobuf_float(message, 2, piece.score);
  put_protobuf(message, 3, std::uint64_t{piece.type});
  put_protobuf(model, 1, std::string_view(message));
}

}  // namespace

Result<ModelFile> parse_model(std::string_view bytes, const std::string& file) {
  auto model = parse(bytes);
  if (!model) {
    Error error = std::move(model).error();
    if (error.code == ErrorCode::bad_data) error.message = "not a usable SentencePiece model: " + error.message;
    return tl::unexpected(std::move(error.in_file(file)));
  }
  return model;
}

Result<ModelFile> read_model_file(const std::string& path) {
  P5_TRY(const std::string bytes, read_text_file(path, kMaxModelBytes));
  return parse_model(bytes, path);
}

Result<std::string> serialize_model(const TokenizerData& tokenizer) {
  P5_OK(check_tokenizer(tokenizer, {}));
  P5_TRY(const std::string normalizer, normalizer_spec(tokenizer));
  std::string model, trainer;
  for (const TokenizerPiece& piece : tokenizer.pieces) put_piece(model, piece);
  const auto type = std::find(kModelTypes.begin(), kModelTypes.end(), tokenizer.model_type) - kModelTypes.begin() + 1;
  put_protobuf(trainer, 3, static_cast<std::uint64_t>(type));
  put_protobuf(trainer, 4, std::uint64_t{tokenizer.pieces.size()});
  put_protobuf(trainer, 35, std::uint64_t{tokenizer.byte_fallback});
  put_protobuf(trainer, 44, std::string_view(tokenizer.unknown_surface));
  put_protobuf(model, 2, std::string_view(trainer));
  put_protobuf(model, 3, std::string_view(normalizer));
  return model;
}

TokenizerData character_tokenizer(const TokenizerData& tokenizer) {
  TokenizerData characters = tokenizer;
  characters.model_type = "char";
  characters.byte_fallback = true;
  characters.pieces = {{"<unk>", 0, 2}};
  for (int byte = 0; byte < 256; ++byte) {
    char name[8];
    std::snprintf(name, sizeof name, "<0x%02X>", static_cast<unsigned>(byte));
    characters.pieces.push_back({name, 0, 6});
  }
  std::set<std::string> taken;
  for (const TokenizerPiece& piece : tokenizer.pieces) {
    if (piece.type != 4) continue;
    characters.pieces.push_back(piece);
    taken.insert(piece.piece);
  }
  std::vector<std::string> common = {"\xe2\x96\x81"};
  for (char ascii = 1; ascii < 127; ++ascii) common.emplace_back(1, ascii);
  for (const std::string& character : common)
    if (!taken.count(character)) characters.pieces.push_back({character, 0, 1});
  return characters;
}

}  // namespace par5
