#include "tokenizer/pieces/pieces.h"

#include <algorithm>
#include <cstdlib>

#include "core/file.h"

namespace par5 {
namespace {

constexpr std::uint64_t kMaxModelBytes = std::uint64_t{64} << 20;
constexpr std::string_view kSpace = "\xe2\x96\x81";  // ▁, U+2581
enum PieceType : std::uint8_t { kControl = 3, kByte = 6 };

}  // namespace

Result<TokenizerPiece> parse_piece(const ProtobufField& message) {
  TokenizerPiece piece;
  ProtobufField field;
  for (ProtobufReader reader(message.bytes, message.offset);;) {
    P5_TRY(const bool more, reader.next(field));
    if (!more) return piece;
    if (field.number == 1 && field.wire == 2) piece.piece = std::string(field.bytes);
    if (field.number == 2 && field.wire == 5) piece.score = field.as_float();
    if (field.number == 3 && field.wire == 0)
      piece.type = static_cast<std::uint8_t>(std::min<std::uint64_t>(field.value, 255));
  }
}

Result<std::vector<TokenizerPiece>> read_pieces(const std::string& path) {
  P5_TRY(const std::string bytes, read_text_file(path, kMaxModelBytes));
  std::vector<TokenizerPiece> pieces;
  ProtobufField field;
  for (ProtobufReader reader(bytes);;) {
    auto more = reader.next(field);
    if (!more) return tl::unexpected(std::move(more.error().in_file(path)));
    if (!*more) return pieces;
    if (field.number != 1 || field.wire != 2) continue;
    auto piece = parse_piece(field);
    if (!piece) return tl::unexpected(std::move(piece.error().in_file(path)));
    pieces.push_back(std::move(*piece));
  }
}

std::string text_of(const std::vector<TokenizerPiece>& pieces, std::span<const std::uint16_t> ids) {
  std::string text;
  for (const std::uint16_t id : ids) {
    if (id >= pieces.size() || pieces[id].type == kControl) continue;
    const std::string& piece = pieces[id].piece;
    if (pieces[id].type == kByte && piece.size() == 6) {  // "<0x0A>"
      text += static_cast<char>(std::strtoul(piece.c_str() + 3, nullptr, 16));
      continue;
    }
    for (std::size_t begin = 0; begin < piece.size();) {
      const std::size_t space = std::min(piece.find(kSpace, begin), piece.size());
      text.append(piece, begin, space - begin);
      if (space < piece.size()) text += ' ';
      begin = space + kSpace.size();
    }
  }
  return text;
}

}  // namespace par5
