#include <xxhash.h>

#include <cstdio>
#include <cstring>

#include "parts.h"

namespace reference {

std::uint64_t tokenizer_hash(const Bytes& bytes, std::uint64_t vocab) {
  Cursor in{bytes, 0, bytes.size()};
  std::string text;
  const auto add = [&text](const Bytes& part) { text.append(part.begin(), part.end()), text.push_back('\n'); };
  const std::uint64_t count = in.varint();
  require(count == vocab && count <= 65536, "pieces do not fit the vocabulary");
  const int model = in.byte(), flags = in.byte();
  require(model < 4 && flags < 64, "unknown tokenizer form");
  text += std::to_string(model) + " " + std::to_string(flags & 15) + "\n";
  add(in.counted(4096));
  add(in.counted(32));
  add(in.counted(1 << 22));
  add(in.counted(4096));
  std::vector<int> types;
  while (types.size() < count) {
    const int type = in.byte();
    const std::uint64_t run = in.varint();
    require(type >= 1 && type <= 6 && run >= 1 && run <= count - types.size(), "impossible types");
    types.insert(types.end(), run, type);
  }
  std::vector<std::uint32_t> scores(count, 0);
  std::uint32_t rank = 0;
  for (std::size_t i = 0; i < count && (flags & 16); ++i)
    if (types[i] == 1) {
      const float score = -static_cast<float>(rank++);
      std::memcpy(&scores[i], &score, 4);
    }
  for (int p = 0; p < 4 && !(flags & 16); ++p)
    for (std::size_t i = 0; i < count; ++i) scores[i] |= std::uint32_t{in.byte()} << (8 * p);
  std::vector<std::uint64_t> lengths(count, 0);
  for (std::size_t i = 0; i < count; ++i)
    if (!(flags & 32 && types[i] == 6)) lengths[i] = in.varint();
  int byte_index = 0;
  for (std::size_t i = 0; i < count; ++i) {
    Bytes piece;
    if (flags & 32 && types[i] == 6) {
      char name[16];
      std::snprintf(name, sizeof name, "<0x%02X>", static_cast<unsigned>(byte_index++ & 0xffff));
      piece.assign(name, name + std::strlen(name));
    } else {
      piece = in.take(lengths[i]);
    }
    add(piece);
    text += std::to_string(types[i]) + " " + std::to_string(scores[i]) + "\n";
  }
  require(in.at == in.end, "bytes after the tokenizer");
  return XXH3_64bits(text.data(), text.size());
}

}  // namespace reference
