// Frequencies for entropy coding (docs/arithmetic.md, "Logits and probabilities"): whole numbers that encoder and
// decoder find alike, from a row of logits.
#pragma once

#include <cstdint>
#include <span>

namespace par5 {

// 2^bits is the frequency of the likeliest token, less one.
constexpr int kFewestFrequencyBits = 30, kMostFrequencyBits = 40, kFrequencyBits = 32;

// out[t] = 1 + floor(2^bits · exp(logits[t] - largest)) for every token; returns their sum, which is above 2^bits and
// at most 2^57. Logits must be finite, at most 65,536 of them; bits from kFewestFrequencyBits to kMostFrequencyBits.
// The scalar reference; Engine::frequencies gives the same with its kernels.
std::uint64_t token_frequencies(std::span<const float> logits, int bits, std::span<std::uint64_t> out);

// Bits that coding costs a token of this frequency: log2(total / frequency), by the engine's own logarithm.
double claimed_bits(std::uint64_t frequency, std::uint64_t total);

// out[t] = ln(frequencies[t] / total), with an error below 1e-12 before the one rounding to binary32. Frequencies and
// total are in [1, 2^63]. The scalar reference, as above.
void log_shares(std::span<const std::uint64_t> frequencies, std::uint64_t total, std::span<float> out);

}  // namespace par5
