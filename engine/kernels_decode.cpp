#include "engine/kernels_decode.h"

#include <algorithm>
#include <cstring>

#include "core/intrinsics.h"

namespace par5::lookup {

bool reads(PackedFormat format) { return format == PackedFormat::base5 || format == PackedFormat::e4m3; }

#if defined(__x86_64__)

namespace {

// Every value of both formats, base-5 digits and fp8, has at most 8 significant bits: the upper half of its float32
// says all. So one lookup among 128 bytes gives bits 24 … 31 of 64 values, one more bits 16 … 23, and a third, from
// both, puts the values of one input under each other.
struct Halves {
  alignas(64) std::uint8_t low[128] = {}, high[128] = {};
};

struct DigitHalves {
  Halves digit[3];
  constexpr DigitHalves() : digit() {
    constexpr unsigned kValues[5] = {0xc000, 0xbf80, 0x0000, 0x3f80, 0x4000};  // -2 … 2
    for (unsigned code = 0; code < 125; ++code) {
      const unsigned digits[3] = {code % 5, code / 5 % 5, code / 25};
      for (int d = 0; d < 3; ++d) {
        digit[d].low[code] = static_cast<std::uint8_t>(kValues[digits[d]] & 0xffu);
        digit[d].high[code] = static_cast<std::uint8_t>(kValues[digits[d]] >> 8);
      }
    }
  }
};
constexpr DigitHalves kDigits;

// The magnitudes of e4m3 codes 0 … 127.
struct Fp8Halves {
  alignas(64) std::uint16_t value[128];
  constexpr Fp8Halves() : value() {
    for (unsigned code = 0; code < 128; ++code) {
      unsigned exponent = code / 8 + 120, mantissa = code % 8;
      if (code > 0 && code < 8)  // subnormal
        for (exponent = 121; mantissa < 8; mantissa *= 2) --exponent;
      value[code] = code == 0 ? std::uint16_t{0} : static_cast<std::uint16_t>(exponent * 128 + mantissa % 8 * 16);
    }
  }
};
constexpr Fp8Halves kFp8;

// Byte 2 of every output's value is byte `b` of its word of low halves, byte 3 that of its high halves.
struct Joins {
  alignas(64) std::uint8_t byte[4][64];
  constexpr Joins() : byte() {
    for (int b = 0; b < 4; ++b)
      for (int output = 0; output < 16; ++output) {
        byte[b][4 * output + 2] = static_cast<std::uint8_t>(4 * output + b);
        byte[b][4 * output + 3] = static_cast<std::uint8_t>(64 + 4 * output + b);
      }
  }
};
constexpr Joins kJoins;

PAR5_VNNI_INLINE __m512i bytes_at(const void* from) { return _mm512_load_si512(from); }

struct Joiner {
  __m512i order[4];
  PAR5_VNNI_INLINE Joiner() {
#pragma GCC unroll 4
    for (int b = 0; b < 4; ++b) order[b] = bytes_at(kJoins.byte[b]);
  }
  PAR5_VNNI_INLINE __m512 join(__m512i low, __m512i high, std::size_t b) const {
    constexpr __mmask64 kUpperHalves = 0xccccccccccccccccu;
    return _mm512_castsi512_ps(_mm512_maskz_permutex2var_epi8(kUpperHalves, low, order[b], high));
  }
};

// Each calls take(j, weights) for the inputs j of one line, in increasing order.
struct Base5Lines {
  static constexpr std::size_t kInputs = 12;
  Joiner joiner;
  __m512i low[3][2], high[3][2];
  PAR5_VNNI_INLINE explicit Base5Lines(const PackedMatrix&) {
#pragma GCC unroll 3
    for (int d = 0; d < 3; ++d)
#pragma GCC unroll 2
      for (int half = 0; half < 2; ++half) {
        low[d][half] = bytes_at(kDigits.digit[d].low + 64 * half);
        high[d][half] = bytes_at(kDigits.digit[d].high + 64 * half);
      }
  }
  template <class Take>
  PAR5_VNNI_INLINE void take(const std::uint32_t* line, __m512 scale, const Take& take) const {
    const __m512i codes = bytes_at(line);
    __m512i lows[3], highs[3];
#pragma GCC unroll 3
    for (int d = 0; d < 3; ++d) {
      lows[d] = _mm512_permutex2var_epi8(low[d][0], codes, low[d][1]);
      highs[d] = _mm512_permutex2var_epi8(high[d][0], codes, high[d][1]);
    }
#pragma GCC unroll 12
    for (std::size_t j = 0; j < kInputs; ++j)
      take(j, _mm512_mul_ps(joiner.join(lows[j % 3], highs[j % 3], j / 3), scale));
  }
};

struct Fp8Lines {
  static constexpr std::size_t kInputs = 4;
  Joiner joiner;
  __m512i low[2], high[2];
  // The tables times the matrix's power of two: the exponent of a bfloat16 stands above 7 bits.
  PAR5_VNNI_INLINE explicit Fp8Lines(const PackedMatrix& matrix) {
    std::uint32_t bits;
    std::memcpy(&bits, &matrix.multiplier, sizeof bits);
    const __m512i exponent = _mm512_set1_epi16(static_cast<short>((static_cast<int>(bits >> 23) - 127) * 128));
#pragma GCC unroll 2
    for (int half = 0; half < 2; ++half) {
      __m256i lows[2], highs[2];
#pragma GCC unroll 2
      for (int quarter = 0; quarter < 2; ++quarter) {
        const __m512i value = bytes_at(kFp8.value + 64 * half + 32 * quarter);
        const __m512i scaled = _mm512_mask_add_epi16(value, _mm512_test_epi16_mask(value, value), value, exponent);
        lows[quarter] = _mm512_cvtepi16_epi8(scaled);
        highs[quarter] = _mm512_cvtepi16_epi8(_mm512_srli_epi16(scaled, 8));
      }
      low[half] = _mm512_inserti64x4(_mm512_castsi256_si512(lows[0]), lows[1], 1);
      high[half] = _mm512_inserti64x4(_mm512_castsi256_si512(highs[0]), highs[1], 1);
    }
  }
  template <class Take>
  PAR5_VNNI_INLINE void take(const std::uint32_t* line, __m512, const Take& take) const {
    const __m512i codes = bytes_at(line);
    const __m512i lows = _mm512_permutex2var_epi8(low[0], codes, low[1]);
    const __m512i magnitudes = _mm512_permutex2var_epi8(high[0], codes, high[1]);
    const __m512i highs = _mm512_or_si512(magnitudes, _mm512_and_si512(codes, _mm512_set1_epi8(-128)));
#pragma GCC unroll 4
    for (std::size_t j = 0; j < kInputs; ++j) take(j, joiner.join(lows, highs, j));
  }
};

PAR5_VNNI_INLINE __m512 scale_of(const PackedMatrix& matrix, std::size_t panel, std::size_t group) {
  return matrix.quantized() ? _mm512_load_ps(matrix.panel_scales(panel) + group * kPanel) : _mm512_set1_ps(1.0f);
}

template <class Lines>
PAR5_VNNI void decode_lines(const PackedMatrix& matrix, std::size_t panel, std::size_t group, std::size_t first,
                            std::size_t count, float* out) {
  const Lines lines(matrix);
  const __m512 scale = scale_of(matrix, panel, group);
  const std::uint32_t* line = matrix.panel_words(panel) + (group * matrix.lines + first) * kPanel;
  for (std::size_t i = 0; i < count; ++i, line += kPanel, out += Lines::kInputs * kBlock) {
    struct Store {
      float* to;
      PAR5_VNNI_INLINE void operator()(std::size_t j, __m512 weights) const {
        _mm512_storeu_ps(to + j * kBlock, weights);
      }
    };
    lines.take(line, scale, Store{out});
  }
}

// Four panels side by side hide the latency of a chain's additions.
template <class Lines>
PAR5_VNNI void row_blocks(const PackedMatrix& matrix, std::size_t first, std::size_t count, const float* x,
                          float* out) {
  struct Fuse {
    const float* x;
    __m512* sum;
    PAR5_VNNI_INLINE void operator()(std::size_t j, __m512 weights) const {
      *sum = _mm512_fmadd_ps(_mm512_set1_ps(x[j]), weights, *sum);
    }
  };
  const Lines lines(matrix);
  const std::size_t panel_words = matrix.groups * matrix.lines * kPanel;
  for (std::size_t block = first; block < first + count; ++block, out += kBlock) {
    const std::size_t panel = block * kPanelsPerBlock;
    const std::uint32_t* words = matrix.panel_words(panel);
    __m512 sums[kPanelsPerBlock];
    for (auto& sum : sums) sum = _mm512_setzero_ps();
    for (std::size_t group = 0; group < matrix.groups; ++group) {
      const std::size_t inputs = std::min(matrix.group, matrix.inputs - group * matrix.group);
      const float* from = x + group * matrix.group;
      __m512 scales[kPanelsPerBlock];
      for (std::size_t p = 0; p < kPanelsPerBlock; ++p) scales[p] = scale_of(matrix, panel + p, group);
      for (std::size_t line = 0; line < matrix.lines; ++line, words += kPanel) {
        const std::size_t done = line * Lines::kInputs;
        if (done + Lines::kInputs <= inputs) {
#pragma GCC unroll 4
          for (std::size_t p = 0; p < kPanelsPerBlock; ++p) {
            // A panel is too short for the processor to foresee the next block's.
            _mm_prefetch(reinterpret_cast<const char*>(words + (p + kPanelsPerBlock) * panel_words), _MM_HINT_T0);
            lines.take(words + p * panel_words, scales[p], Fuse{from + done, &sums[p]});
          }
          continue;
        }
        // The last line of a row: padding takes no part.
        struct FuseSome {
          Fuse fuse;
          std::size_t count;
          PAR5_VNNI_INLINE void operator()(std::size_t j, __m512 weights) const {
            if (j < count) fuse(j, weights);
          }
        };
        for (std::size_t p = 0; p < kPanelsPerBlock && done < inputs; ++p)
          lines.take(words + p * panel_words, scales[p], FuseSome{{from + done, &sums[p]}, inputs - done});
      }
    }
#pragma GCC unroll 4
    for (std::size_t p = 0; p < kPanelsPerBlock; ++p) _mm512_storeu_ps(out + p * kPanel, sums[p]);
  }
}

}  // namespace

void decode(const PackedMatrix& matrix, std::size_t panel, std::size_t group, std::size_t first, std::size_t count,
            float* out) {
  if (matrix.format == PackedFormat::base5)
    decode_lines<Base5Lines>(matrix, panel, group, first, count, out);
  else
    decode_lines<Fp8Lines>(matrix, panel, group, first, count, out);
}

void row_product(const PackedMatrix& matrix, std::size_t first, std::size_t count, const float* x, float* out) {
  if (matrix.format == PackedFormat::base5)
    row_blocks<Base5Lines>(matrix, first, count, x, out);
  else
    row_blocks<Fp8Lines>(matrix, first, count, x, out);
}

#else

// Never called: cpu_has_avx512_vnni() is false.
void decode(const PackedMatrix&, std::size_t, std::size_t, std::size_t, std::size_t, float*) {}
void row_product(const PackedMatrix&, std::size_t, std::size_t, const float*, float*) {}

#endif

}  // namespace par5::lookup
