#include "tokenizer/tokenizer.h"

#include <sentencepiece_processor.h>

#include <algorithm>
#include <charconv>

#include "tokenizer/model_file.h"

namespace par5 {
namespace {

constexpr std::string_view kSpace = "\xe2\x96\x81";

// "▁" as spaces; the first one dropped where asked for.
std::string with_spaces(std::string_view piece, bool drop_first) {
  std::string text;
  if (drop_first && piece.substr(0, kSpace.size()) == kSpace) piece.remove_prefix(kSpace.size());
  while (!piece.empty()) {
    const std::size_t at = std::min(piece.find(kSpace), piece.size());
    text += piece.substr(0, at);
    piece.remove_prefix(at);
    if (piece.empty()) break;
    text += ' ';
    piece.remove_prefix(kSpace.size());
  }
  return text;
}

Status check_size(std::string_view text) {
  if (text.size() <= kMaxTextBytes) return {};
  return resource_limit("a text of " + std::to_string(text.size()) + " bytes is too long to encode at once (at most " +
                        std::to_string(kMaxTextBytes) + "); split it into documents, in a .txt file by NUL bytes");
}

tl::unexpected<Error> failure(const char* what, const sentencepiece::util::Status& status) {
  return internal_error(std::string("SentencePiece cannot ") + what + ": " + status.error_message());
}

}  // namespace

struct Tokenizer::State {
  TokenizerData data;
  TokenBytes bytes;
  std::string sha256;
  std::optional<std::uint16_t> bos, eos, pad;
  std::uint16_t unknown = 0;
  std::vector<std::string> texts;          // by id, after a token that is no boundary
  std::vector<std::string> leading_texts;  // by id, after a boundary
  sentencepiece::SentencePieceProcessor encoder;
  sentencepiece::SentencePieceProcessor normalizer;
};

Result<Tokenizer> Tokenizer::from_data(TokenizerData data) {
  P5_TRY(const std::string model, serialize_model(data));
  P5_TRY(const std::string normalizer, serialize_normalizer(data));
  auto state = std::make_shared<State>();
  state->data = std::move(data);
  for (auto [processor, bytes] : {std::pair(&state->encoder, &model), std::pair(&state->normalizer, &normalizer)})
    if (const auto status = processor->LoadFromSerializedProto(*bytes); !status.ok())
      return bad_data(std::string("SentencePiece refuses the tokenizer: ") + status.error_message());
  state->bytes = token_bytes(state->data);
  state->sha256 = tokenizer_sha256(state->data);
  for (std::size_t i = 0; i < state->data.pieces.size(); ++i) {
    const auto& [piece, score, type] = state->data.pieces[i];
    const auto id = static_cast<std::uint16_t>(i);
    if (type == 2) state->unknown = id;
    if (type == 3 && piece == "<s>") state->bos = id;
    if (type == 3 && piece == "</s>") state->eos = id;
    if (type == 3 && piece == "<pad>") state->pad = id;
    std::string text, leading;
    if (type == 6) {
      unsigned byte = 0;
      std::from_chars(piece.data() + 3, piece.data() + 5, byte, 16);
      text = leading = static_cast<char>(byte);
    } else if (!state->bytes.boundary[i]) {
      text = with_spaces(piece, false);
      leading = with_spaces(piece, true);
    }
    state->texts.push_back(std::move(text));
    state->leading_texts.push_back(std::move(leading));
  }
  Tokenizer tokenizer;
  tokenizer.state_ = std::move(state);
  return tokenizer;
}

Result<Tokenizer> Tokenizer::load(const std::string& path) {
  P5_TRY(auto model, read_model_file(path));
  auto tokenizer = from_data(std::move(model.tokenizer));
  if (!tokenizer) return tl::unexpected(std::move(tokenizer.error().in_file(path)));
  return tokenizer;
}

const TokenizerData& Tokenizer::data() const { return state_->data; }
const TokenBytes& Tokenizer::bytes() const { return state_->bytes; }
const std::string& Tokenizer::sha256() const { return state_->sha256; }
std::optional<std::uint16_t> Tokenizer::bos() const { return state_->bos; }
std::optional<std::uint16_t> Tokenizer::eos() const { return state_->eos; }
std::optional<std::uint16_t> Tokenizer::pad() const { return state_->pad; }
std::uint16_t Tokenizer::unknown() const { return state_->unknown; }

Result<std::vector<std::uint16_t>> Tokenizer::encode(std::string_view text) const {
  P5_OK(check_size(text));
  std::vector<int> ids;
  if (const auto status = state_->encoder.Encode(text, &ids); !status.ok()) return failure("encode a text", status);
  return std::vector<std::uint16_t>(ids.begin(), ids.end());
}

Result<std::vector<TokenSpan>> Tokenizer::encode_spans(std::string_view text) const {
  P5_OK(check_size(text));
  sentencepiece::ImmutableSentencePieceText pieces;
  if (const auto status = state_->encoder.Encode(text, pieces.mutable_proto()); !status.ok())
    return failure("encode a text", status);
  std::vector<TokenSpan> spans;
  spans.reserve(pieces.pieces_size());
  for (std::size_t i = 0; i < pieces.pieces_size(); ++i) {
    const auto piece = pieces.pieces(static_cast<int>(i));
    spans.push_back({static_cast<std::uint16_t>(piece.id()), piece.begin(), piece.end()});
  }
  return spans;
}

std::string_view Tokenizer::surface(std::uint16_t id, bool after_boundary) const {
  return (after_boundary ? state_->leading_texts : state_->texts)[id];
}

Result<std::string> Tokenizer::decode(std::span<const std::uint16_t> ids) const {
  std::string text;
  bool boundary = true;
  for (const std::uint16_t id : ids) {
    if (id >= vocab())
      return bad_data("token id " + std::to_string(id) + " is beyond the vocabulary of " + std::to_string(vocab()));
    text += surface(id, boundary);
    boundary = state_->bytes.boundary[id];
  }
  return text;
}

Result<std::string> Tokenizer::normalize(std::string_view text) const {
  P5_OK(check_size(text));
  std::vector<std::string> pieces;
  if (const auto status = state_->normalizer.Encode(text, &pieces); !status.ok())
    return failure("normalise a text", status);
  std::string normalized;
  for (const std::string& piece : pieces) normalized += piece;
  return with_spaces(normalized, true);
}

Result<std::string> Tokenizer::sentencepiece_decode(std::span<const std::uint16_t> ids) const {
  std::string text;
  if (const auto status = state_->encoder.Decode(std::vector<int>(ids.begin(), ids.end()), &text); !status.ok())
    return failure("decode tokens", status);
  return text;
}

}  // namespace par5
