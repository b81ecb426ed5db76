#include "budgets/records/located.h"

#include <cctype>
#include <charconv>

namespace par5 {

std::string to_string(const Place& place) {
  std::string text = place.file;
  if (place.line > 0) text += ":" + std::to_string(place.line);
  return place.key.empty() ? text : text + " (" + place.key + ")";
}

std::optional<PrintedNumber> printed_number(std::string_view text, std::size_t* end) {
  const auto digit = [&](std::size_t i) {
    return i < text.size() && std::isdigit(static_cast<unsigned char>(text[i]));
  };
  std::size_t at = 0;
  while (at < text.size() &&
         (text[at] == ' ' || text[at] == '~' || text[at] == '<' || text[at] == '>' || text[at] == '='))
    ++at;
  if (text.substr(at, 3) == "\xe2\x89\x88") at += 3;  // ≈
  std::string plain;
  if (at < text.size() && (text[at] == '-' || text[at] == '+')) {
    if (text[at] == '-') plain += '-';
    ++at;
  }
  if (!digit(at) && !(at < text.size() && text[at] == '.' && digit(at + 1))) return std::nullopt;
  for (;; ++at) {
    if (digit(at)) {
      plain += text[at];
      continue;
    }
    // A separator stands between groups of three: 15,724,839.
    const bool separator = at < text.size() && (text[at] == ',' || text[at] == '_');
    if (separator && digit(at + 1) && digit(at + 2) && digit(at + 3) && !digit(at + 4)) continue;
    break;
  }
  PrintedNumber number;
  if (at < text.size() && text[at] == '.' && digit(at + 1)) {
    plain += '.';
    for (++at; digit(at); ++at, ++number.digits) plain += text[at];
  }
  if (at < text.size() && (text[at] == 'e' || text[at] == 'E')) {
    const std::size_t sign = at + 1 < text.size() && (text[at + 1] == '-' || text[at + 1] == '+') ? 1 : 0;
    if (digit(at + 1 + sign)) {
      int exponent = 0;
      const auto read = std::from_chars(text.data() + at + 1 + sign, text.data() + text.size(), exponent);
      if (read.ec == std::errc() && exponent <= 300) {
        const bool negative = text[at + 1] == '-';
        plain += "e" + std::string(negative ? "-" : "") + std::to_string(exponent);
        number.digits += negative ? exponent : -exponent;
      }
      at = static_cast<std::size_t>(read.ptr - text.data());
    }
  }
  if (std::from_chars(plain.data(), plain.data() + plain.size(), number.value).ec != std::errc()) return std::nullopt;
  if (end) *end = at;
  return number;
}

}  // namespace par5
