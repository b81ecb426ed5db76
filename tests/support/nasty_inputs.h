// Inputs that compressors get wrong, by name.
#pragma once

#include <algorithm>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "core/file.h"

namespace par5::testing_support {

// `large` is the size of the large ones.
inline std::vector<std::pair<std::string, std::string>> nasty_inputs(std::size_t large) {
  std::mt19937_64 random(7);
  std::string noise(large, '\0');
  for (char& byte : noise) byte = static_cast<char>(random());
  std::string invalid;
  for (std::size_t i = 0; i < large / 8; ++i) {
    invalid += "text \xc3\x28 and \xe2\x82 cut\xed\xa0\x80 ";
    if (i % 3 == 0) invalid += "\xf5";
  }
  std::string program;
  if (const auto bytes = read_file("/proc/self/exe"))
    program.assign(reinterpret_cast<const char*>(bytes->data()), std::min(bytes->size(), large));
  return {{"empty", ""},
          {"one byte", "x"},
          {"one space", " "},
          {"one line break", "\n"},
          {"one byte that is no text", "\xff"},
          {"zeros", std::string(large, '\0')},
          {"random", noise},
          {"invalid UTF-8", invalid},
          {"CRLF", "A line.\r\nAnother line.\r\n\r\n  Indented.\r\n\tTabbed.\r\n"},
          {"NULs in text", std::string("one\0two\0\0 three\0", 16)},
          {"the tokenizer's own space",
           "a\xe2\x96\x81"
           "b \xe2\x96\x81 c\xe2\x96\x81\xe2\x96\x81"},
          {"runs of spaces", "  two   three    four " + std::string(500, ' ') + "end   "},
          {"compatibility characters", "ﬁne ² ½ Ａ é e\xcc\x81 \xe2\x80\x8b\xef\xbb\xbf ™ 日本語 \xf0\x9f\x98\x80"},
          {"names of pieces", "<s> </s> <unk> <0x0A> <pad>"},
          {"an executable", program}};
}

}  // namespace par5::testing_support
