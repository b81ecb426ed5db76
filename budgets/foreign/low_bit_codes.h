// Codes of the published archives: bytes to codes in -2 … 2. Sizes are checked; a byte that packing would not have
// written is bad_data.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"

namespace par5 {

// `symbols` codes a byte in base `base` (3: 5 codes, 5: 3 codes), first least significant.
Result<std::vector<std::int8_t>> codes_from_base(std::string_view bytes, int base, std::uint64_t count);
// Bit planes, most significant bit first, each padded to whole bytes. Ternary: "not zero", then "positive".
Result<std::vector<std::int8_t>> codes_from_ternary_planes(std::string_view bytes, std::uint64_t count);
// Quinary: "zero", then "negative" and "magnitude 2" of those that are not.
Result<std::vector<std::int8_t>> codes_from_quinary_planes(std::string_view bytes, std::uint64_t count);
// codes[column * rows + row] → codes[row * columns + column].
std::vector<std::int8_t> from_columns(const std::vector<std::int8_t>& codes, std::uint64_t rows, std::uint64_t columns);

// Weights [rows, columns] from codes [rows, padded columns] in groups: code · scale / mean |code| of the group,
// float32. `scales` holds one value a group, row-major.
std::vector<float> weights_from_codes(const std::vector<std::int8_t>& codes, const std::vector<float>& scales,
                                      std::uint64_t rows, std::uint64_t columns, std::uint64_t padded_columns,
                                      std::uint64_t group);

}  // namespace par5
