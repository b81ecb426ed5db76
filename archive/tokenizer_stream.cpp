#include "archive/tokenizer_stream.h"

#include <array>
#include <cmath>
#include <cstdio>

#include "core/hash.h"

namespace par5 {
namespace {

constexpr std::uint64_t kMostPieces = 65536;
constexpr std::uint64_t kLongestText = 1 << 12;
constexpr std::uint64_t kLongestMap = 1 << 22;
constexpr std::array<std::string_view, 4> kModelTypes = {"bpe", "unigram", "word", "char"};
constexpr std::uint8_t kNormalPiece = 1, kBytePiece = 6, kLastType = 6;

// Flags of the form.
constexpr unsigned kAddDummyPrefix = 1, kRemoveExtraWhitespaces = 2, kEscapeWhitespaces = 4, kByteFallback = 8;
constexpr unsigned kScoresAreRanks = 16;  // the k-th normal piece has the score -k, all others 0
constexpr unsigned kBytesInOrder = 32;    // the k-th byte piece is "<0xKK>"

std::string byte_piece(std::size_t index) {
  char text[16];
  std::snprintf(text, sizeof text, "<0x%02X>", static_cast<unsigned>(index & 0xffff));
  return text;
}

// The first normal piece of a trained BPE model has the score -0, with its sign.
float rank_score(std::size_t rank) { return -static_cast<float>(rank); }

bool scores_are_ranks(const TokenizerData& tokenizer) {
  std::size_t rank = 0;
  for (const TokenizerPiece& piece : tokenizer.pieces) {
    const float expected = piece.type == kNormalPiece ? rank_score(rank++) : 0.0f;
    if (std::bit_cast<std::uint32_t>(piece.score) != std::bit_cast<std::uint32_t>(expected)) return false;
  }
  return true;
}

bool bytes_in_order(const TokenizerData& tokenizer) {
  std::size_t index = 0;
  for (const TokenizerPiece& piece : tokenizer.pieces)
    if (piece.type == kBytePiece && piece.piece != byte_piece(index++)) return false;
  return true;
}

}  // namespace

Result<std::vector<std::byte>> write_tokenizer(const TokenizerData& tokenizer) {
  std::size_t model_type = 0;
  while (model_type < kModelTypes.size() && kModelTypes[model_type] != tokenizer.model_type) ++model_type;
  if (model_type == kModelTypes.size())
    return bad_data("the tokenizer's model type '" + tokenizer.model_type + "' cannot be stored in an artifact");
  if (tokenizer.pieces.empty() || tokenizer.pieces.size() > kMostPieces)
    return bad_data("a tokenizer of " + std::to_string(tokenizer.pieces.size()) +
                    " pieces cannot be stored in an artifact");
  if (!tokenizer.normalizer_sha256.empty() &&
      (tokenizer.normalizer_sha256.size() != 64 ||
       tokenizer.normalizer_sha256.find_first_not_of("0123456789abcdef") != std::string::npos))
    return bad_data("the tokenizer's normaliser has no valid SHA-256");
  if (tokenizer.normalizer.size() > kLongestText || tokenizer.unknown_surface.size() > kLongestText ||
      tokenizer.normalizer_map.size() > kLongestMap)
    return bad_data("the tokenizer's normaliser is too large for an artifact");

  const bool ranks = scores_are_ranks(tokenizer), bytes = bytes_in_order(tokenizer);
  ByteWriter out;
  out.varint(tokenizer.pieces.size());
  out.fixed(model_type, 1);
  const auto flag = [](bool set, unsigned bit) { return set ? bit : 0u; };
  out.fixed(flag(tokenizer.add_dummy_prefix, kAddDummyPrefix) |
                flag(tokenizer.remove_extra_whitespaces, kRemoveExtraWhitespaces) |
                flag(tokenizer.escape_whitespaces, kEscapeWhitespaces) | flag(tokenizer.byte_fallback, kByteFallback) |
                flag(ranks, kScoresAreRanks) | flag(bytes, kBytesInOrder),
            1);
  out.text(tokenizer.normalizer);
  out.varint(tokenizer.normalizer_sha256.size() / 2);
  for (std::size_t i = 0; i + 1 < tokenizer.normalizer_sha256.size(); i += 2)
    out.fixed(std::stoul(tokenizer.normalizer_sha256.substr(i, 2), nullptr, 16), 1);
  out.counted(std::as_bytes(std::span(tokenizer.normalizer_map)));
  out.text(tokenizer.unknown_surface);
  for (std::size_t i = 0; i < tokenizer.pieces.size();) {
    std::size_t end = i;
    while (end < tokenizer.pieces.size() && tokenizer.pieces[end].type == tokenizer.pieces[i].type) ++end;
    if (tokenizer.pieces[i].type < 1 || tokenizer.pieces[i].type > kLastType)
      return bad_data("tokenizer piece " + std::to_string(i) + " has the unknown type " +
                      std::to_string(tokenizer.pieces[i].type));
    out.fixed(tokenizer.pieces[i].type, 1);
    out.varint(end - i);
    i = end;
  }
  if (!ranks)
    for (int plane = 0; plane < 4; ++plane)
      for (const TokenizerPiece& piece : tokenizer.pieces)
        out.fixed(std::bit_cast<std::uint32_t>(piece.score) >> (8 * plane) & 255, 1);
  for (const TokenizerPiece& piece : tokenizer.pieces) {
    if (piece.piece.size() > kLongestText) return bad_data("a tokenizer piece is too long for an artifact");
    if (!(bytes && piece.type == kBytePiece)) out.varint(piece.piece.size());
  }
  for (const TokenizerPiece& piece : tokenizer.pieces)
    if (!(bytes && piece.type == kBytePiece)) out.raw(std::as_bytes(std::span(piece.piece)));
  return out.take();
}

Result<TokenizerData> read_tokenizer(ByteReader& in) {
  TokenizerData tokenizer;
  P5_TRY(const std::uint64_t count, in.varint());
  if (count == 0 || count > kMostPieces) return in.error("the tokenizer claims " + std::to_string(count) + " pieces");
  P5_TRY(const std::uint64_t model_type, in.fixed(1));
  if (model_type >= kModelTypes.size()) return in.error("the tokenizer has an unknown model type");
  tokenizer.model_type = kModelTypes[model_type];
  P5_TRY(const std::uint64_t flags, in.fixed(1));
  if (flags >= 64) return in.error("the tokenizer has unknown flags");
  tokenizer.add_dummy_prefix = (flags & kAddDummyPrefix) != 0;
  tokenizer.remove_extra_whitespaces = (flags & kRemoveExtraWhitespaces) != 0;
  tokenizer.escape_whitespaces = (flags & kEscapeWhitespaces) != 0;
  tokenizer.byte_fallback = (flags & kByteFallback) != 0;
  P5_TRY(tokenizer.normalizer, in.text(kLongestText));
  P5_TRY(const auto hash, in.counted(32));
  if (!hash.empty() && hash.size() != 32) return in.error("the tokenizer's normaliser hash is not 32 bytes long");
  tokenizer.normalizer_sha256 = hex(hash);
  P5_TRY(const auto map, in.counted(kLongestMap));
  tokenizer.normalizer_map.resize(map.size());
  for (std::size_t i = 0; i < map.size(); ++i) tokenizer.normalizer_map[i] = std::to_integer<std::uint8_t>(map[i]);
  P5_TRY(tokenizer.unknown_surface, in.text(kLongestText));

  tokenizer.pieces.resize(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < tokenizer.pieces.size();) {
    P5_TRY(const std::uint64_t type, in.fixed(1));
    P5_TRY(const std::uint64_t run, in.varint());
    if (type < 1 || type > kLastType || run == 0 || run > tokenizer.pieces.size() - i)
      return in.error("the tokenizer's types are impossible");
    for (const std::size_t end = i + static_cast<std::size_t>(run); i < end; ++i)
      tokenizer.pieces[i].type = static_cast<std::uint8_t>(type);
  }
  if ((flags & kScoresAreRanks) != 0) {
    std::size_t rank = 0;
    for (TokenizerPiece& piece : tokenizer.pieces)
      if (piece.type == kNormalPiece) piece.score = rank_score(rank++);
  } else {
    P5_TRY(const auto planes, in.bytes(count * 4));
    for (std::size_t i = 0; i < tokenizer.pieces.size(); ++i) {
      std::uint32_t bits = 0;
      for (std::size_t plane = 0; plane < 4; ++plane)
        bits |= std::to_integer<std::uint32_t>(planes[plane * tokenizer.pieces.size() + i]) << (8 * plane);
      tokenizer.pieces[i].score = std::bit_cast<float>(bits);
      if (!std::isfinite(tokenizer.pieces[i].score)) return in.error("a tokenizer score is not finite");
    }
  }
  const bool bytes = (flags & kBytesInOrder) != 0;
  std::vector<std::uint64_t> lengths(tokenizer.pieces.size());
  for (std::size_t i = 0; i < lengths.size(); ++i) {
    if (bytes && tokenizer.pieces[i].type == kBytePiece) continue;
    P5_TRY(lengths[i], in.varint());
  }
  std::size_t byte_index = 0;
  for (std::size_t i = 0; i < lengths.size(); ++i) {
    TokenizerPiece& piece = tokenizer.pieces[i];
    if (bytes && piece.type == kBytePiece) {
      piece.piece = byte_piece(byte_index++);
      continue;
    }
    P5_TRY(const auto text, in.bytes(lengths[i]));
    piece.piece.assign(reinterpret_cast<const char*>(text.data()), text.size());
  }
  if (in.remaining() != 0) return in.error("the tokenizer has bytes after its end");
  return tokenizer;
}

}  // namespace par5
