#include "tokenizer/shards/token_bytes.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <set>
#include <string_view>
#include <unordered_set>

#include "core/hash.h"
#include "core/text.h"

namespace par5 {
namespace {

constexpr std::string_view kSpace = "\xe2\x96\x81";
enum PieceType : std::uint8_t { kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5, kByte = 6 };

// The value of a byte piece "<0xE2>", or -1.
int byte_value(std::string_view piece) {
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  if (piece.size() != 6 || piece.substr(0, 3) != "<0x" || piece[5] != '>') return -1;
  const std::size_t high = kDigits.find(piece[3]), low = kDigits.find(piece[4]);
  if (high == std::string_view::npos || low == std::string_view::npos) return -1;
  return static_cast<int>(high * 16 + low);
}

// SentencePiece looks up at most 64 user-defined pieces that are prefixes of one another and reads past its result
// array where there are more.
constexpr std::size_t kMaxNestedPieces = 64;

bool nested_too_deep(const std::set<std::string_view>& pieces) {
  std::vector<std::string_view> chain;
  for (const std::string_view piece : pieces) {
    while (!chain.empty() && piece.substr(0, chain.back().size()) != chain.back()) chain.pop_back();
    chain.push_back(piece);
    if (chain.size() > kMaxNestedPieces) return true;
  }
  return false;
}

}  // namespace

TokenBytes token_bytes(const TokenizerData& tokenizer) {
  TokenBytes table;
  for (const TokenizerPiece& entry : tokenizer.pieces) {
    std::string_view piece = entry.piece;
    const bool boundary = entry.type == kControl || entry.type == kUnknown || entry.type == kUnused;
    bool leading = false;
    std::size_t bytes = 0;
    if (entry.type == kByte) {
      bytes = 1;
    } else if (!boundary) {
      leading = piece.substr(0, kSpace.size()) == kSpace;
      if (leading) piece.remove_prefix(kSpace.size());
      bytes = piece.size();
      for (std::size_t at = piece.find(kSpace); at != std::string_view::npos;
           at = piece.find(kSpace, at + kSpace.size()))
        bytes -= kSpace.size() - 1;
    }
    table.bytes.push_back(static_cast<std::uint16_t>(bytes));
    table.leading_space.push_back(leading);
    table.boundary.push_back(boundary);
  }
  return table;
}

std::string tokenizer_sha256(const TokenizerData& tokenizer) {
  Sha256 hash;
  const auto number = [&](std::uint32_t value) {
    const char bytes[4] = {static_cast<char>(value & 0xff), static_cast<char>(value >> 8 & 0xff),
                           static_cast<char>(value >> 16 & 0xff), static_cast<char>(value >> 24)};
    hash.update(std::string_view(bytes, sizeof bytes));
  };
  const auto text = [&](std::string_view value) {
    number(static_cast<std::uint32_t>(value.size()));
    hash.update(value);
  };
  const auto byte = [&](int value) {
    const char c = static_cast<char>(value);
    hash.update(std::string_view(&c, 1));
  };
  hash.update(std::string_view("par5 tokenizer 1\n"));
  number(static_cast<std::uint32_t>(tokenizer.pieces.size()));
  for (const TokenizerPiece& piece : tokenizer.pieces) {
    text(piece.piece);
    number(std::bit_cast<std::uint32_t>(piece.score));
    byte(piece.type);
  }
  text(tokenizer.model_type);
  text(tokenizer.normalizer_sha256);
  byte(tokenizer.add_dummy_prefix);
  byte(tokenizer.remove_extra_whitespaces);
  byte(tokenizer.escape_whitespaces);
  byte(tokenizer.byte_fallback);
  return hex(hash.finish());
}

Status check_tokenizer(const TokenizerData& tokenizer, const std::string& file) {
  const auto& pieces = tokenizer.pieces;
  if (pieces.empty() || pieces.size() > 65536)
    return bad_data("the tokenizer has " + std::to_string(pieces.size()) + " pieces; 1 to 65536 fit 16-bit token ids",
                    file);
  static const std::vector<std::string> kModelTypes = {"bpe", "unigram", "word", "char"};
  if (std::find(kModelTypes.begin(), kModelTypes.end(), tokenizer.model_type) == kModelTypes.end())
    return bad_data("the tokenizer's model type '" + tokenizer.model_type + "' is not one of bpe, unigram, word, char",
                    file);

  std::unordered_set<std::string_view> normal, reserved;
  std::set<std::string_view> user_defined;
  std::vector<bool> bytes(256, false);
  std::size_t unknown = 0, byte_pieces = 0;
  for (std::size_t id = 0; id < pieces.size(); ++id) {
    const auto& [piece, score, type] = pieces[id];
    const auto fault = [&, id = id](const std::string& what) {
      return bad_data("piece " + std::to_string(id) + " of the tokenizer " + what, file);
    };
    if (piece.empty()) return fault("is empty");
    if (piece.size() > 65535)
      return fault("has " + std::to_string(piece.size()) + " bytes; at most 65535 are possible");
    if (find_invalid_utf8(piece) != std::string::npos) return fault("is not well-formed UTF-8");
    if (piece.find('\0') != std::string::npos) return fault("contains a NUL byte");
    if (!std::isfinite(score)) return fault("has a score that is not a finite number");
    if (type < kNormal || type > kByte) return fault("has the unknown type " + std::to_string(type));
    const bool is_normal = type == kNormal || type == kUserDefined || type == kUnused;
    if (!(is_normal ? normal : reserved).insert(piece).second) return fault("(" + quoted(piece) + ") occurs twice");
    if (type == kUserDefined) user_defined.insert(piece);
    unknown += type == kUnknown;
    if (type == kByte) {
      const int value = byte_value(piece);
      if (value < 0) return fault("(" + quoted(piece) + ") is not a byte piece such as <0x0A>");
      bytes[static_cast<std::size_t>(value)] = true;
      ++byte_pieces;
    }
  }
  if (unknown != 1)
    return bad_data("the tokenizer has " + std::to_string(unknown) + " unknown pieces; it must have one", file);
  if (tokenizer.byte_fallback && std::find(bytes.begin(), bytes.end(), false) != bytes.end())
    return bad_data("the tokenizer has " + std::to_string(byte_pieces) + " byte pieces; byte fallback needs all 256",
                    file);
  if (!tokenizer.byte_fallback && byte_pieces > 0)
    return bad_data("the tokenizer has byte pieces although it says that byte fallback is off", file);
  if (nested_too_deep(user_defined))
    return bad_data("more than 64 user-defined pieces of the tokenizer are prefixes of one another", file);
  return {};
}

}  // namespace par5
