#include "engine/kernels_adds.h"

#include <algorithm>

#include "core/intrinsics.h"

namespace par5::adds {

Kernels portable() {
  const par5::Kernels& scalar = scalar_kernels();
  return {scalar.adds_packing, scalar.adds_tables, scalar.adds_product};
}

#if defined(__x86_64__)

namespace {

std::size_t inputs_of_group(const PackedMatrix& matrix, std::size_t group) {
  return std::min(matrix.group, matrix.inputs - group * matrix.group);
}

// ---- AVX-512: pairs of inputs, one lookup among 32 places for each ----

// The 25 sums of a pair, the first input's code fastest.
struct PairPlaces {
  alignas(64) std::int32_t digit[2][kPairPlaces];
  constexpr PairPlaces() : digit() {
    for (int value = 0; value < 25; ++value) {
      digit[0][value] = value % 5;
      digit[1][value] = value / 5;
    }
  }
};
constexpr PairPlaces kPlaces;

// {-2x, -x, 0, x, 2x, …}, without a multiplication.
PAR5_AVX512_INLINE __m512 five_multiples(float x) {
  const float two = x + x;
  return _mm512_setr_ps(-two, -x, 0.0f, x, two, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f);
}

PAR5_AVX512 void pair_tables(const float* x, const PackedMatrix& matrix, float* out) {
  const std::size_t group_floats = (matrix.group + 1) / 2 * kPairPlaces;
  for (std::size_t group = 0; group < matrix.groups; ++group) {
    const float* values = x + group * matrix.group;
    const std::size_t count = inputs_of_group(matrix, group);
    float* to = out + group * group_floats;
    for (std::size_t i = 0; i < count; i += 2, to += kPairPlaces) {
      const __m512 first = five_multiples(values[i]), second = five_multiples(i + 1 < count ? values[i + 1] : 0.0f);
      for (std::size_t half = 0; half < kPairPlaces; half += 16) {
        const __m512 a = _mm512_permutexvar_ps(_mm512_load_si512(kPlaces.digit[0] + half), first);
        const __m512 b = _mm512_permutexvar_ps(_mm512_load_si512(kPlaces.digit[1] + half), second);
        _mm512_store_ps(to + half, _mm512_add_ps(a, b));
      }
    }
  }
}

// Pair kPair of a line's words, for kPanels panels. A lookup takes the low five bits of a place.
template <std::size_t kPanels, unsigned kPair>
PAR5_AVX512_INLINE void add_pair(__m512 (&sums)[kPanels], const __m512i (&words)[kPanels], const float* table) {
  const __m512 low = _mm512_load_ps(table + kPair * kPairPlaces),
               high = _mm512_load_ps(table + kPair * kPairPlaces + 16);
#pragma GCC unroll 8
  for (std::size_t p = 0; p < kPanels; ++p)
    sums[p] = _mm512_add_ps(sums[p], _mm512_permutex2var_ps(low, _mm512_srli_epi32(words[p], 5 * kPair), high));
}

template <std::size_t kPanels>
PAR5_AVX512_INLINE void pairs_tile(const PackedMatrix& matrix, std::size_t panel, const float* tables, float* out) {
  const std::size_t panel_words = matrix.groups * matrix.lines * kPanel;
  const std::size_t group_floats = (matrix.group + 1) / 2 * kPairPlaces;
  __m512 totals[kPanels];
  for (__m512& total : totals) total = _mm512_setzero_ps();
  for (std::size_t group = 0; group < matrix.groups; ++group) {
    const std::uint32_t* line = matrix.panel_words(panel) + group * matrix.lines * kPanel;
    const float* table = tables + group * group_floats;
    std::size_t pairs = (inputs_of_group(matrix, group) + 1) / 2;
    __m512 sums[kPanels];
    __m512i words[kPanels];
    for (__m512& sum : sums) sum = _mm512_setzero_ps();
    for (; pairs > 0; line += kPanel, table += 6 * kPairPlaces) {
#pragma GCC unroll 8
      for (std::size_t p = 0; p < kPanels; ++p) words[p] = _mm512_load_si512(line + p * panel_words);
      if (pairs >= 6) {
        add_pair<kPanels, 0>(sums, words, table);
        add_pair<kPanels, 1>(sums, words, table);
        add_pair<kPanels, 2>(sums, words, table);
        add_pair<kPanels, 3>(sums, words, table);
        add_pair<kPanels, 4>(sums, words, table);
        add_pair<kPanels, 5>(sums, words, table);
        pairs -= 6;
        continue;
      }
      for (; pairs > 0; --pairs, table += kPairPlaces) {
        add_pair<kPanels, 0>(sums, words, table);
        for (__m512i& word : words) word = _mm512_srli_epi32(word, 5);
      }
    }
    for (std::size_t p = 0; p < kPanels; ++p) {
      const __m512 scale = _mm512_load_ps(matrix.panel_scales(panel + p) + group * kPanel);
      totals[p] = _mm512_fmadd_ps(sums[p], scale, totals[p]);
    }
  }
  for (std::size_t p = 0; p < kPanels; ++p) _mm512_storeu_ps(out + p * kPanel, totals[p]);
}

PAR5_AVX512 void pairs_product(const PackedMatrix& matrix, std::size_t first, std::size_t count, const float* tables,
                               std::size_t rows, float* out, std::size_t out_stride) {
  const std::size_t row_floats = table_floats(matrix);
  for (std::size_t row = 0; row < rows; ++row) {
    const float* row_tables = tables + row * row_floats;
    float* to = out + row * out_stride;
    std::size_t i = 0;
    for (; i + 2 <= count; i += 2)
      pairs_tile<2 * kPanelsPerBlock>(matrix, (first + i) * kPanelsPerBlock, row_tables, to + i * kBlock);
    for (; i < count; ++i)
      pairs_tile<kPanelsPerBlock>(matrix, (first + i) * kPanelsPerBlock, row_tables, to + i * kBlock);
  }
}

// ---- AVX2: one lookup among 8 places for each input ----

// Field f of `byte` of each word, by kShift = 8 · byte + kBits · f.
template <unsigned kShift, unsigned kBits>
PAR5_AVX2_INLINE __m256 multiple(__m256i words, const float* table) {
  __m256i places = _mm256_srli_epi32(words, static_cast<int>(kShift));
  // A lookup takes three bits; the fourth of a 4-bit code is 0 here.
  if (kBits == 2) places = _mm256_and_si256(places, _mm256_set1_epi32(3));
  return _mm256_permutevar8x32_ps(_mm256_load_ps(table), places);
}

template <unsigned kBits, std::size_t kHalves, unsigned kInput>
PAR5_AVX2_INLINE void add_two(__m256 (&sums)[kHalves], const __m256i (&words)[kHalves], const float* table) {
  constexpr unsigned kShift = 8 * (kInput % 4) + kBits * (kInput / 4);
#pragma GCC unroll 8
  for (std::size_t h = 0; h < kHalves; ++h)
    sums[h] =
        _mm256_add_ps(sums[h], _mm256_add_ps(multiple<kShift, kBits>(words[h], table + kInput * kMultiples),
                                             multiple<kShift + 8, kBits>(words[h], table + (kInput + 1) * kMultiples)));
}

// Inputs kInput … of a word, two at a time, as far as there are any.
template <unsigned kBits, std::size_t kHalves, unsigned kInput>
PAR5_AVX2_INLINE void add_word(__m256 (&sums)[kHalves], const __m256i (&words)[kHalves], const float* table,
                               std::size_t inputs) {
  if constexpr (kInput < 32 / kBits) {
    if (kInput + 1 < inputs) {
      add_two<kBits, kHalves, kInput>(sums, words, table);
      add_word<kBits, kHalves, kInput + 2>(sums, words, table, inputs);
    } else if (kInput < inputs) {
      constexpr unsigned kShift = 8 * (kInput % 4) + kBits * (kInput / 4);
      for (std::size_t h = 0; h < kHalves; ++h)
        sums[h] = _mm256_add_ps(sums[h], multiple<kShift, kBits>(words[h], table + kInput * kMultiples));
    }
  }
}

template <unsigned kBits, std::size_t kHalves>
PAR5_AVX2_INLINE void multiples_tile(const PackedMatrix& matrix, std::size_t output, const float* tables, float* out) {
  constexpr std::size_t kPerWord = 32 / kBits;
  const std::uint32_t* words[kHalves];
  const float* scales[kHalves];
  __m256 totals[kHalves];
  for (std::size_t h = 0; h < kHalves; ++h) {
    words[h] = matrix.panel_words((output + 8 * h) / kPanel) + (output + 8 * h) % kPanel;
    scales[h] = matrix.panel_scales((output + 8 * h) / kPanel) + (output + 8 * h) % kPanel;
    totals[h] = _mm256_setzero_ps();
  }
  for (std::size_t group = 0; group < matrix.groups; ++group) {
    __m256 sums[kHalves];
    for (__m256& sum : sums) sum = _mm256_setzero_ps();
    std::size_t at = group * matrix.lines * kPanel;
    const float* table = tables + group * matrix.group * kMultiples;
    const std::size_t inputs = inputs_of_group(matrix, group);
    for (std::size_t input = 0; input < inputs; input += kPerWord, at += kPanel, table += kPerWord * kMultiples) {
      __m256i line[kHalves];
      for (std::size_t h = 0; h < kHalves; ++h)
        line[h] = _mm256_load_si256(reinterpret_cast<const __m256i*>(words[h] + at));
      if (input + kPerWord <= inputs)
        add_word<kBits, kHalves, 0>(sums, line, table, kPerWord);
      else
        add_word<kBits, kHalves, 0>(sums, line, table, inputs - input);
    }
    for (std::size_t h = 0; h < kHalves; ++h)
      totals[h] = _mm256_fmadd_ps(sums[h], _mm256_load_ps(scales[h] + group * kPanel), totals[h]);
  }
  for (std::size_t h = 0; h < kHalves; ++h) _mm256_storeu_ps(out + 8 * h, totals[h]);
}

PAR5_AVX2 void multiples_product(const PackedMatrix& matrix, std::size_t first, std::size_t count, const float* tables,
                                 std::size_t rows, float* out, std::size_t out_stride) {
  constexpr std::size_t kHalves = 4;
  const std::size_t row_floats = table_floats(matrix);
  for (std::size_t row = 0; row < rows; ++row)
    for (std::size_t o = 0; o < count * kBlock; o += 8 * kHalves) {
      float* to = out + row * out_stride + o;
      if (matrix.format == PackedFormat::bits2)
        multiples_tile<2, kHalves>(matrix, first * kBlock + o, tables + row * row_floats, to);
      else
        multiples_tile<4, kHalves>(matrix, first * kBlock + o, tables + row * row_floats, to);
    }
}

}  // namespace

Kernels avx2() { return {Packing::bits, scalar_kernels().adds_tables, multiples_product}; }
Kernels avx512() { return {Packing::pairs, pair_tables, pairs_product}; }

#else

Kernels avx2() { return portable(); }
Kernels avx512() { return portable(); }

#endif

}  // namespace par5::adds
