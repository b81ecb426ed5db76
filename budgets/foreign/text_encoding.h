// Text files as people leave them: UTF-8 with or without a byte-order mark, UTF-16 either way round, Latin-1.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace par5 {

// The same text as UTF-8 without a byte-order mark. UTF-16 is recognised by its mark or by its zero bytes; what is
// neither UTF-8 nor UTF-16 is taken as Latin-1. Unpaired surrogates become U+FFFD. "\r\n" stays as it is.
std::string to_utf8(std::string_view bytes);

void append_utf8(std::string& out, std::uint32_t code_point);

}  // namespace par5
