// Internal to the vector kernels: decoding of packed weights, fp32 matrix products, int8 activations.
#if defined(PAR5_ENGINE_VECTOR_PRODUCTS_INL_H_) == defined(HWY_TARGET_TOGGLE)  // once for every instruction set
#ifdef PAR5_ENGINE_VECTOR_PRODUCTS_INL_H_
#undef PAR5_ENGINE_VECTOR_PRODUCTS_INL_H_
#else
#define PAR5_ENGINE_VECTOR_PRODUCTS_INL_H_
#endif

#include <algorithm>
#include <bit>
#include <cstring>

#include "engine/kernels.h"
#include "engine/kernels_decode.h"
#include "engine/kernels_integer.h"
#include "engine/vector-inl.h"

HWY_BEFORE_NAMESPACE();
namespace par5 {
namespace HWY_NAMESPACE {
namespace {
#if PAR5_VECTOR_TARGET
// ---- decoding ----

// The values of one line: out[j][0 … 15] (rows of kBlock floats) for the `per_word` inputs of each word.
template <unsigned kBits>
HWY_INLINE void DecodeCodes(const std::uint32_t* line, const float* scales, int offset, float* out) {
  const Ints ints;
  const auto mask = hn::Set(ints, (1 << kBits) - 1);
  const auto bias = hn::Set(ints, offset);
  for (std::size_t v = 0; v < kVectors; ++v) {
    const auto words = hn::LoadU(Words(), line + v * kN);
    const V scale = hn::LoadU(kF, scales + v * kN);
    for (unsigned j = 0; j < 32 / kBits; ++j) {
      const int shift = static_cast<int>(8 * (j % 4) + kBits * (j / 4));
      const auto code = hn::And(hn::BitCast(ints, hn::ShiftRightSame(words, shift)), mask);
      const V value = hn::Mul(hn::ConvertTo(kF, hn::Sub(code, bias)), scale);
      hn::StoreU(value, kF, out + j * kBlock + v * kN);
    }
  }
}

// Small floats with kBits bits, the mantissa's lowest at bit 0 and an exponent bias of kBias: shifted, and the bias
// made float32's. Subnormal ones get the smallest normal exponent and lose its value again, because processors take
// very long for float32's own subnormal numbers.
template <unsigned kBits, int kShift, int kBias>
HWY_INLINE void DecodeFloats(const std::uint32_t* line, float multiplier, float* out) {
  const Words d;
  constexpr std::uint32_t kOffset = static_cast<std::uint32_t>(127 - kBias) << 23, kStep = 1u << 23;
  const auto magnitude = hn::Set(d, (1u << (kBits - 1)) - 1u), sign = hn::Set(d, 1u << (kBits - 1));
  const auto offset = hn::Set(d, kOffset), smallest = hn::Set(d, kOffset + kStep);
  for (std::size_t v = 0; v < kVectors; ++v) {
    const auto words = hn::LoadU(d, line + v * kN);
    for (unsigned j = 0; j < 32 / kBits; ++j) {
      const auto code = hn::ShiftRightSame(words, static_cast<int>(j * kBits));
      const auto bits = hn::ShiftLeft<kShift>(hn::And(code, magnitude));
      const V normal = hn::BitCast(kF, hn::Add(bits, offset));
      const V subnormal = hn::Sub(hn::BitCast(kF, hn::Or(bits, smallest)), hn::BitCast(kF, smallest));
      const auto small = hn::Lt(hn::BitCast(Ints(), bits), hn::Set(Ints(), static_cast<std::int32_t>(kStep)));
      const V value = hn::IfThenElse(hn::RebindMask(kF, small), subnormal, normal);
      const auto signs = hn::ShiftLeft<static_cast<int>(32 - kBits)>(hn::And(code, sign));
      hn::StoreU(hn::Or(hn::Mul(value, Constant(multiplier)), hn::BitCast(kF, signs)), kF, out + j * kBlock + v * kN);
    }
  }
}

// `count` whole lines of a group of one panel, from line `first`.
template <bool kLookup>
HWY_INLINE void DecodeLines(const PackedMatrix& matrix, std::size_t panel, std::size_t group, std::size_t first,
                            std::size_t count, float* out) {
  if (kLookup && lookup::reads(matrix.format)) return lookup::decode(matrix, panel, group, first, count, out);
  const std::size_t step = inputs_per_word(matrix.format) * kBlock;
  const std::uint32_t* line = matrix.panel_words(panel) + (group * matrix.lines + first) * kPanel;
  const float* scales = matrix.quantized() ? matrix.panel_scales(panel) + group * kPanel : nullptr;
  for (std::size_t i = 0; i < count; ++i, line += kPanel, out += step) switch (matrix.format) {
      case PackedFormat::bits2:
        DecodeCodes<2>(line, scales, matrix.offset, out);
        break;
      case PackedFormat::bits4:
        DecodeCodes<4>(line, scales, matrix.offset, out);
        break;
      case PackedFormat::bits8:
        DecodeCodes<8>(line, scales, matrix.offset, out);
        break;
      case PackedFormat::e4m3:
        DecodeFloats<8, 20, 7>(line, matrix.multiplier, out);
        break;
      case PackedFormat::half:
        DecodeFloats<16, 13, 15>(line, 1.0f, out);
        break;
      case PackedFormat::single:
        std::memcpy(out, line, kPanel * sizeof(float));
        break;
      case PackedFormat::base5:    // kLookup only
      case PackedFormat::columns:  // other arithmetics' products only
      case PackedFormat::pairs:
        break;
    }
}

template <bool kLookup>
void Decode(const PackedMatrix& matrix, std::size_t block, std::size_t first, std::size_t count, float* out) {
  const std::size_t per_word = inputs_per_word(matrix.format), end = first + count;
  alignas(64) float partial[16 * kBlock];
  for (std::size_t p = 0; p < kPanelsPerBlock; ++p) {
    const std::size_t panel = block * kPanelsPerBlock + p;
    for (std::size_t input = first; input < end;) {
      const std::size_t group = input / matrix.group, index = input % matrix.group;
      const std::size_t line = index / per_word, skipped = index % per_word;
      const std::size_t left = std::min(matrix.group - index, end - input);
      float* to = out + (input - first) * kBlock + p * kPanel;
      if (skipped == 0 && left >= per_word) {
        DecodeLines<kLookup>(matrix, panel, group, line, left / per_word, to);
        input += left / per_word * per_word;
        continue;
      }
      const std::size_t wanted = std::min(per_word - skipped, left);
      DecodeLines<kLookup>(matrix, panel, group, line, 1, partial);
      for (std::size_t j = 0; j < wanted; ++j)
        std::memcpy(to + j * kBlock, partial + (skipped + j) * kBlock, kPanel * sizeof(float));
      input += wanted;
    }
  }
}

// ---- matrix products ----

// kCount vectors side by side; recursion instead of arrays keeps them in registers.
template <std::size_t kCount>
struct Vectors {
  V first;
  Vectors<kCount - 1> rest;
  static HWY_INLINE Vectors Load(const float* x) { return {hn::LoadU(kF, x), Vectors<kCount - 1>::Load(x + kN)}; }
  static HWY_INLINE Vectors Zero() { return {hn::Zero(kF), Vectors<kCount - 1>::Zero()}; }
  HWY_INLINE void Store(float* x) const {
    hn::StoreU(first, kF, x);
    rest.Store(x + kN);
  }
  HWY_INLINE void Fuse(V x, const Vectors& w) {
    first = hn::MulAdd(x, w.first, first);
    rest.Fuse(x, w.rest);
  }
};
template <>
struct Vectors<0> {
  static HWY_INLINE Vectors Load(const float*) { return {}; }
  static HWY_INLINE Vectors Zero() { return {}; }
  HWY_INLINE void Store(float*) const {}
  HWY_INLINE void Fuse(V, const Vectors&) {}
};

// kRows rows of sums, kCount vectors each. Rows are addressed from `near` in steps of `stride` and, past the first
// four, from pointers of their own, which spares the compiler one register per row.
template <std::size_t kRows, std::size_t kCount>
struct Sums {
  Vectors<kCount> row;
  Sums<kRows - 1, kCount> rest;
  HWY_INLINE void Begin(bool start, const float* out, std::size_t stride) {
    row = start ? Vectors<kCount>::Zero() : Vectors<kCount>::Load(out);
    rest.Begin(start, out + stride, stride);
  }
  HWY_INLINE void End(float* out, std::size_t stride) const {
    row.Store(out);
    rest.End(out + stride, stride);
  }
  HWY_INLINE void Fuse(const float* x, std::size_t stride, const Vectors<kCount>& w) {
    row.Fuse(Constant(*x), w);
    rest.Fuse(x + stride, stride, w);
  }
};
template <std::size_t kCount>
struct Sums<0, kCount> {
  HWY_INLINE void Begin(bool, const float*, std::size_t) {}
  HWY_INLINE void End(float*, std::size_t) const {}
  HWY_INLINE void Fuse(const float*, std::size_t, const Vectors<kCount>&) {}
};

template <std::size_t kRows, std::size_t kCount>
void Tile(const float* x, std::size_t x_stride, const float* panel, std::size_t panel_stride, std::size_t inputs,
          bool start, float* out, std::size_t out_stride) {
  Sums<kRows, kCount> sums;
  sums.Begin(start, out, out_stride);
  for (std::size_t i = 0; i < inputs; ++i) {
    sums.Fuse(x + i, x_stride, Vectors<kCount>::Load(panel));
    panel += panel_stride;
  }
  sums.End(out, out_stride);
}

// All outputs of kRows rows, in steps of kCount vectors, then one by one.
template <std::size_t kRows, std::size_t kCount>
void Rows(const float* x, std::size_t x_stride, const float* panel, std::size_t panel_stride, std::size_t inputs,
          std::size_t outputs, bool start, float* out, std::size_t out_stride) {
  std::size_t o = 0;
  for (; o + kCount * kN <= outputs; o += kCount * kN)
    Tile<kRows, kCount>(x, x_stride, panel + o, panel_stride, inputs, start, out + o, out_stride);
  for (; o < outputs; o += kN) Tile<kRows, 1>(x, x_stride, panel + o, panel_stride, inputs, start, out + o, out_stride);
}

void Product(const float* x, std::size_t x_stride, std::size_t rows, const float* panel, std::size_t panel_stride,
             std::size_t inputs, std::size_t outputs, bool start, float* out, std::size_t out_stride) {
  // Tall tiles are limited by registers, of vectors and of row addresses.
  constexpr std::size_t kTall = kN == 4 ? 8 : 6, kWide = kN == 16 ? 4 : 2;
  std::size_t r = 0;
  const auto take = [&](auto body, std::size_t height) {
    body(x + r * x_stride, x_stride, panel, panel_stride, inputs, outputs, start, out + r * out_stride, out_stride);
    r += height;
  };
  while (r < rows) {
    const std::size_t left = rows - r;
    if (left >= kTall && left != 8)
      take(Rows<kTall, kWide>, kTall);
    else if (left >= 4)  // also twice for 8
      take(Rows<4, kWide>, 4);
    else if (left >= 2)
      take(Rows<2, 4>, 2);
    else
      take(Rows<1, kBlock / kN>, 1);
  }
}

// ---- int8 activations ----

void QuantizeRow(const float* x, const PackedMatrix& matrix, std::size_t rows, QuantizedRow out) {
  const Ints ints;
  auto largest = hn::Zero(ints);
  for (std::size_t i = 0; i < matrix.inputs; i += kN)
    largest = hn::Max(largest, hn::BitCast(ints, hn::Abs(LoadSome(x + i, matrix.inputs - i))));
  const float maximum = std::bit_cast<float>(hn::GetLane(hn::MaxOfLanes(ints, largest)));
  const bool usable = maximum >= 0x1p-100f && maximum <= 0x1.fffffep+127f;
  const float factor = usable ? 127.0f / maximum : 0.0f;
  *out.step = usable ? maximum / 127.0f : maximum < 0x1p-100f ? 0.0f : maximum - maximum;

  if (matrix.format == PackedFormat::base5) return integer::quantize_base5(x, matrix, usable, factor, out);
  constexpr std::size_t kChunk = 192;  // whole lines of every format
  const std::size_t per_word = inputs_per_word(matrix.format);
  const hn::Rebind<std::int8_t, Floats> bytes;
  alignas(64) std::int8_t codes[kChunk + 16] = {};
  auto* to = reinterpret_cast<std::int8_t*>(out.words);
  std::size_t tables = 0;
  for (std::size_t group = 0; group < matrix.groups; ++group) {
    auto sum = hn::Zero(ints);
    const float* values = x + group * matrix.group;
    const std::size_t count = std::min(matrix.group, matrix.inputs - group * matrix.group);
    for (std::size_t first = 0; first < matrix.group; first += kChunk) {
      const std::size_t taken = std::min(kChunk, matrix.group - first);
      const std::size_t there = first < count ? std::min(taken, count - first) : 0;
      for (std::size_t i = 0; i < taken; i += kN) {
        const V value = i < there && usable ? LoadSome(values + first + i, there - i) : hn::Zero(kF);
        const V rounder = Constant(exact::kRounder);
        const V rounded = hn::Sub(hn::Add(hn::Mul(value, Constant(factor)), rounder), rounder);
        const auto code = hn::ConvertTo(ints, rounded);
        sum = hn::Add(sum, code);
        hn::StoreU(hn::DemoteTo(bytes, code), bytes, codes + i);
      }
      const std::size_t lines = (taken + per_word - 1) / per_word;
      std::fill(codes + taken, codes + std::max(taken, lines * per_word), std::int8_t{0});
      if (matrix.format == PackedFormat::columns) {
        if (rows < kSharedRows) {
          integer::build_tables(codes, lines, out.words + tables);
          tables += lines * kTableWords;
        } else {
          for (std::size_t line = 0; line < lines; ++line, to += 4) std::memcpy(to, codes + 3 * line, 3);
        }
        continue;
      }
      std::memcpy(to, codes, lines * per_word);
      to += lines * per_word;
    }
    out.starts[group] = -matrix.offset * hn::GetLane(hn::SumOfLanes(ints, sum));
  }
}

#endif  // PAR5_VECTOR_TARGET
}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace par5
HWY_AFTER_NAMESPACE();

#endif
