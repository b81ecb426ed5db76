// JSON as people write it by hand: any encoding, byte-order marks, comments, trailing commas, Python's literals.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "core/error.h"

namespace par5 {

struct TolerantJson {
  nlohmann::ordered_json value;
  bool strict = true;  // it was JSON as it stood, but perhaps for NaN and Infinity, which most readers take
};

// Repairs comments (// and #), trailing commas, and NaN, Infinity, True, False and None outside strings. What is still
// no JSON is bad_data with the offset in the text; so is nesting beyond 100 levels.
Result<TolerantJson> read_tolerant_json(std::string_view bytes, const std::string& path);

}  // namespace par5
