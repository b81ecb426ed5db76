// Conversions between float32 and the stored float types: fp16, bfloat16 and fp8 e4m3 (finite, no infinities).
// Integer code, round to nearest even; the same bits on every machine and compiler.
#pragma once

#include <cstdint>
#include <span>

namespace par5 {

// IEEE binary16. Overflow gives infinity, as IEEE does; NaN stays NaN (quiet).
std::uint16_t half_from_float(float value);
float float_from_half(std::uint16_t bits);

// bfloat16: float32's upper half, rounded to nearest even; NaN stays NaN (quiet).
std::uint16_t bfloat16_from_float(float value);
float float_from_bfloat16(std::uint16_t bits);

// fp8 e4m3 in its finite form (OCP "E4M3", torch's float8_e4m3fn): largest value 448, code 0x7f/0xff is NaN, no
// infinities. Values above 448 saturate to 448; NaN stays NaN.
std::uint8_t e4m3_from_float(float value);
float float_from_e4m3(std::uint8_t bits);

// The same for arrays: out[i] of values[i].
void half_from_floats(std::span<const float> values, std::span<std::uint16_t> out);
void e4m3_from_floats(std::span<const float> values, std::span<std::uint8_t> out);

// The value that survives storage.
inline float round_to_half(float value) { return float_from_half(half_from_float(value)); }
inline float round_to_bfloat16(float value) { return float_from_bfloat16(bfloat16_from_float(value)); }
inline float round_to_e4m3(float value) { return float_from_e4m3(e4m3_from_float(value)); }

}  // namespace par5
