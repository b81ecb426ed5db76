// Small text helpers: numbers as people and JSON want them, joining, UTF-8 checks.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace par5 {

// The shortest decimal that reads back as the same double: "0.1", "5000", "1e-08".
std::string shortest(double value);
// A fixed number of digits after the point.
std::string fixed(double value, int digits);
// 1234567 -> "1,234,567"
std::string grouped(std::int64_t value);
// Seconds as "1 h 02 m", "3 m 04 s" or "5.2 s".
std::string duration(double seconds);
std::string join(const std::vector<std::string>& parts, std::string_view separator);
// A TOML/JSON string literal with its quotes.
std::string quoted(std::string_view text);
std::vector<std::string> split(std::string_view text, char separator);
std::string_view trim(std::string_view text);

// Offset of the first byte that is not well-formed UTF-8 (no surrogates, no overlong forms); npos if all is well.
std::size_t find_invalid_utf8(std::string_view text);

// The candidate with the smallest edit distance, if it is near enough to be a likely slip of the keyboard.
std::string nearest_name(std::string_view name, const std::vector<std::string>& candidates);

}  // namespace par5
