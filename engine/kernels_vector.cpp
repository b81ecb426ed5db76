// The vector kernels in Highway, compiled once per instruction set: the loops of kernels_scalar.cpp with 4, 8 or 16
// values at a time. The 16 lanes of a row reduction lie in 16 / N vectors of N lanes.
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4)  // their MulAdd is not fused
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "engine/kernels_vector.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "engine/elementary.h"
#include "engine/kernels.h"
#include "engine/kernels_adds.h"
#include "engine/kernels_integer.h"

HWY_BEFORE_NAMESPACE();
namespace par5 {
namespace HWY_NAMESPACE {
namespace {
#if HWY_TARGET != HWY_SCALAR && HWY_TARGET != HWY_EMU128 && !HWY_HAVE_SCALABLE
namespace hn = hwy::HWY_NAMESPACE;

using Floats = hn::CappedTag<float, 16>;
using Ints = hn::RebindToSigned<Floats>;
using Words = hn::RebindToUnsigned<Floats>;
using V = hn::Vec<Floats>;
constexpr std::size_t kN = hn::MaxLanes(Floats());
constexpr std::size_t kVectors = 16 / kN;  // that make up the 16 lanes of a reduction
constexpr Floats kF;

HWY_INLINE V Constant(float value) { return hn::Set(kF, value); }

// The first `count` values (any more are 0), and their counterpart.
HWY_INLINE V LoadSome(const float* x, std::size_t count) {
  return count >= kN ? hn::LoadU(kF, x) : hn::MaskedLoad(hn::FirstN(kF, count), kF, x);
}
HWY_INLINE void StoreSome(V v, float* x, std::size_t count) {
  if (count >= kN)
    hn::StoreU(v, kF, x);
  else
    hn::BlendedStore(v, hn::FirstN(kF, count), kF, x);
}

// The 16 lanes of a reduction.
struct Lanes {
  V part[kVectors];
  HWY_INLINE Lanes() {
    for (V& v : part) v = hn::Zero(kF);
  }
  HWY_INLINE float Join() const {
    alignas(64) float lanes[16];
    for (std::size_t i = 0; i < kVectors; ++i) hn::Store(part[i], kF, lanes + i * kN);
    for (std::size_t half = 8; half > 0; half /= 2)
      for (std::size_t i = 0; i < half; ++i) lanes[i] = lanes[i] + lanes[i + half];
    return lanes[0];
  }
};

// Calls step(lane, value) for 16 values at a time; values past the end are not taken in.
template <class Step>
HWY_INLINE void Reduce(const float* x, std::size_t n, Lanes& lanes, const Step& step) {
  std::size_t i = 0;
  for (; i + 16 <= n; i += 16)
    for (std::size_t v = 0; v < kVectors; ++v) lanes.part[v] = step(lanes.part[v], hn::LoadU(kF, x + i + v * kN));
  for (std::size_t v = 0; v < kVectors && i + v * kN < n; ++v) {
    const std::size_t left = n - i - v * kN;
    const V taken = step(lanes.part[v], LoadSome(x + i + v * kN, left));
    lanes.part[v] = left >= kN ? taken : hn::IfThenElse(hn::FirstN(kF, left), taken, lanes.part[v]);
  }
}
struct Sum {
  HWY_INLINE V operator()(V lane, V x) const { return hn::Add(lane, x); }
};
struct SquareSum {
  HWY_INLINE V operator()(V lane, V x) const { return hn::MulAdd(x, x, lane); }
};
struct DifferenceSquareSum {
  float mean;
  HWY_INLINE V operator()(V lane, V x) const {
    const V difference = hn::Sub(x, Constant(mean));
    return hn::MulAdd(difference, difference, lane);
  }
};

// out[i] = f(x[i]) and f(x[i], y[i]).
template <class F>
HWY_INLINE void Map(const float* x, std::size_t n, float* out, const F& f) {
  for (std::size_t i = 0; i < n; i += kN) StoreSome(f(LoadSome(x + i, n - i)), out + i, n - i);
}
template <class F>
HWY_INLINE void Map(const float* x, const float* y, std::size_t n, float* out, const F& f) {
  for (std::size_t i = 0; i < n; i += kN) StoreSome(f(LoadSome(x + i, n - i), LoadSome(y + i, n - i)), out + i, n - i);
}

// ---- elementary functions: the operations of engine/elementary.h ----

HWY_INLINE V Exp(V x) {
  const V shifted = hn::MulAdd(x, Constant(exact::kLog2E), Constant(exact::kRounder));
  const V n = hn::Sub(shifted, Constant(exact::kRounder));
  V r = hn::MulAdd(n, Constant(-exact::kLn2High), x);
  r = hn::MulAdd(n, Constant(-exact::kLn2Low), r);
  V p = hn::MulAdd(r, Constant(exact::kExp[4]), Constant(exact::kExp[3]));
  p = hn::MulAdd(r, p, Constant(exact::kExp[2]));
  p = hn::MulAdd(r, p, Constant(exact::kExp[1]));
  p = hn::MulAdd(r, p, Constant(exact::kExp[0]));
  p = hn::MulAdd(hn::Mul(r, r), p, r);
  p = hn::Add(p, Constant(1.0f));
  const Words words;
  V result = hn::BitCast(kF, hn::Add(hn::BitCast(words, p), hn::ShiftLeft<23>(hn::BitCast(words, shifted))));
  result = hn::IfThenElse(hn::Gt(x, Constant(exact::kExpHighest)), Constant(HUGE_VALF), result);
  const V low = hn::IfThenElseZero(hn::Ne(x, x), x);
  return hn::IfThenElse(hn::Ge(x, Constant(exact::kExpLowest)), result, low);
}

HWY_INLINE V Tanh(V x) {
  const V t = hn::Abs(x), s = hn::Mul(x, x);
  V p = hn::MulAdd(s, Constant(exact::kTanh[4]), Constant(exact::kTanh[3]));
  p = hn::MulAdd(s, p, Constant(exact::kTanh[2]));
  p = hn::MulAdd(s, p, Constant(exact::kTanh[1]));
  p = hn::MulAdd(s, p, Constant(exact::kTanh[0]));
  const V small = hn::MulAdd(hn::Mul(x, s), p, x);
  const V quotient = hn::Div(Constant(2.0f), hn::Add(Exp(hn::Add(t, t)), Constant(1.0f)));
  const V large = hn::CopySign(hn::Sub(Constant(1.0f), quotient), x);
  return hn::IfThenElse(hn::Lt(t, Constant(exact::kTanhSmall)), small, large);
}

HWY_INLINE V Erf(V x) {
  const V t = hn::Abs(x), s = hn::Mul(x, x);
  V p = hn::MulAdd(s, Constant(exact::kErf[6]), Constant(exact::kErf[5]));
  for (int i = 4; i >= 0; --i) p = hn::MulAdd(s, p, Constant(exact::kErf[i]));
  const V small = hn::MulAdd(x, p, x);
  const V largest = Constant(exact::kErfLargest);
  const V u = hn::IfThenElse(hn::Lt(t, largest), t, largest);
  V g = hn::MulAdd(u, Constant(exact::kErfc[6]), Constant(exact::kErfc[5]));
  for (int i = 4; i >= 0; --i) g = hn::MulAdd(u, g, Constant(exact::kErfc[i]));
  const V large = hn::CopySign(hn::Sub(Constant(1.0f), Exp(hn::Neg(hn::Add(u, g)))), x);
  return hn::IfThenElse(hn::Lt(t, Constant(1.0f)), small, large);
}

struct ReluSquare {
  HWY_INLINE V operator()(V x) const {
    const V positive = hn::IfThenElseZero(hn::Gt(x, hn::Zero(kF)), x);
    return hn::Mul(positive, positive);
  }
};
struct LeakyReluSquare {
  HWY_INLINE V operator()(V x) const {
    const V leaky = hn::IfThenElse(hn::Gt(x, hn::Zero(kF)), x, hn::Mul(Constant(0.5f), x));
    return hn::Mul(leaky, leaky);
  }
};
struct GatedSilu {
  HWY_INLINE V operator()(V gate, V up) const {
    return hn::Mul(hn::Div(gate, hn::Add(Constant(1.0f), Exp(hn::Neg(gate)))), up);
  }
};
struct Gelu {
  HWY_INLINE V operator()(V x) const {
    const V half = hn::Mul(Constant(0.5f), x);
    return hn::Mul(half, hn::Add(Constant(1.0f), Erf(hn::Mul(x, Constant(exact::kSqrtHalf)))));
  }
};

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

HWY_INLINE void DecodeLine(const PackedMatrix& matrix, const std::uint32_t* line, const float* scales, float* out) {
  switch (matrix.format) {
    case PackedFormat::bits2:
      return DecodeCodes<2>(line, scales, matrix.offset, out);
    case PackedFormat::bits4:
      return DecodeCodes<4>(line, scales, matrix.offset, out);
    case PackedFormat::bits8:
      return DecodeCodes<8>(line, scales, matrix.offset, out);
    case PackedFormat::e4m3:
      return DecodeFloats<8, 20, 7>(line, matrix.multiplier, out);
    case PackedFormat::half:
      return DecodeFloats<16, 13, 15>(line, 1.0f, out);
    case PackedFormat::base5:
      return integer::decode_base5_line(line, scales, out);
    case PackedFormat::single:
      return static_cast<void>(std::memcpy(out, line, kPanel * sizeof(float)));
    case PackedFormat::columns:  // other arithmetics' products only
    case PackedFormat::pairs:
      return;
  }
}

void Decode(const PackedMatrix& matrix, std::size_t block, std::size_t first, std::size_t count, float* out) {
  const std::size_t per_word = inputs_per_word(matrix.format), end = first + count;
  alignas(64) float partial[16 * kBlock];
  for (std::size_t p = 0; p < kPanelsPerBlock; ++p) {
    const std::size_t panel = block * kPanelsPerBlock + p;
    const std::uint32_t* words = matrix.panel_words(panel);
    const float* scales = matrix.quantized() ? matrix.panel_scales(panel) : nullptr;
    for (std::size_t input = first; input < end;) {
      const std::size_t group = input / matrix.group, index = input % matrix.group;
      const std::size_t line = index / per_word, skipped = index % per_word;
      const std::uint32_t* line_words = words + (group * matrix.lines + line) * kPanel;
      const float* group_scales = scales ? scales + group * kPanel : nullptr;
      const std::size_t wanted = std::min({per_word - skipped, matrix.group - index, end - input});
      float* to = out + (input - first) * kBlock + p * kPanel;
      if (wanted == per_word) {
        DecodeLine(matrix, line_words, group_scales, to);
      } else {
        DecodeLine(matrix, line_words, group_scales, partial);
        for (std::size_t j = 0; j < wanted; ++j)
          std::memcpy(to + j * kBlock, partial + (skipped + j) * kBlock, kPanel * sizeof(float));
      }
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
  constexpr std::size_t kTall = kN == 16 ? 12 : kN == 8 ? 6 : 8;
  std::size_t r = 0;
  const auto step = [&](auto body, std::size_t height) {
    for (; r + height <= rows; r += height)
      body(x + r * x_stride, x_stride, panel, panel_stride, inputs, outputs, start, out + r * out_stride, out_stride);
  };
  step(Rows<kTall, 2>, kTall);
  step(Rows < 4, kN == 8 ? 2 : 4 >, 4);
  step(Rows<2, 4>, 2);
  step(Rows<1, kBlock / kN>, 1);
}

// ---- int8 activations ----

// Activations of base5 lines: digit 0 of each of a word's bytes, digit 1, digit 2. Reads 4 bytes beyond the last line.
void ReorderBase5(const std::int8_t* codes, std::size_t lines, std::int8_t* to) {
  const hn::Full128<std::int8_t> sixteen;
  alignas(16) static constexpr std::int8_t kOrder[16] = {0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11, 12, 13, 14, 15};
  const auto order = hn::Load(sixteen, kOrder);
  alignas(16) std::int8_t last[16];
  for (std::size_t line = 0; line < lines; ++line, codes += 12, to += 12) {
    const auto reordered = hn::TableLookupBytes(hn::LoadU(sixteen, codes), order);
    if (line + 1 < lines) {
      hn::StoreU(reordered, sixteen, to);  // what is too much, the next line overwrites
    } else {
      hn::Store(reordered, sixteen, last);
      std::memcpy(to, last, 12);
    }
  }
}

void QuantizeRow(const float* x, const PackedMatrix& matrix, QuantizedRow out) {
  const Ints ints;
  auto largest = hn::Zero(ints);
  for (std::size_t i = 0; i < matrix.inputs; i += kN)
    largest = hn::Max(largest, hn::BitCast(ints, hn::Abs(LoadSome(x + i, matrix.inputs - i))));
  const float maximum = std::bit_cast<float>(hn::GetLane(hn::MaxOfLanes(ints, largest)));
  const bool usable = maximum >= 0x1p-100f && maximum <= 0x1.fffffep+127f;
  const float factor = usable ? 127.0f / maximum : 0.0f;
  *out.step = usable ? maximum / 127.0f : maximum < 0x1p-100f ? 0.0f : maximum - maximum;

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
        integer::build_tables(codes, lines, out.words + tables);
        tables += lines * kTableWords;
        continue;
      }
      if (matrix.format == PackedFormat::base5) {
        ReorderBase5(codes, lines, to);
      } else {
        std::memcpy(to, codes, lines * per_word);
      }
      to += lines * per_word;
    }
    out.starts[group] = -matrix.offset * hn::GetLane(hn::SumOfLanes(ints, sum));
  }
}

// ---- rows and elements ----

void Scale(const float* x, float factor, std::size_t n, float* out) {
  for (std::size_t i = 0; i < n; i += kN) StoreSome(hn::Mul(LoadSome(x + i, n - i), Constant(factor)), out + i, n - i);
}

void RmsNorm(const float* x, std::size_t n, float* out) {
  Lanes lanes;
  Reduce(x, n, lanes, SquareSum());
  const float mean = lanes.Join() / static_cast<float>(n);
  Scale(x, 1.0f / std::sqrt(mean + 0x1p-23f), n, out);
}

void LayerNorm(const float* x, std::size_t n, float* out) {
  Lanes sums, squares;
  Reduce(x, n, sums, Sum());
  const float mean = sums.Join() / static_cast<float>(n);
  Reduce(x, n, squares, DifferenceSquareSum{mean});
  const float factor = 1.0f / std::sqrt(squares.Join() / static_cast<float>(n) + 1e-5f);
  for (std::size_t i = 0; i < n; i += kN)
    StoreSome(hn::Mul(hn::Sub(LoadSome(x + i, n - i), Constant(mean)), Constant(factor)), out + i, n - i);
}

struct Times {
  HWY_INLINE V operator()(V x, V y) const { return hn::Mul(x, y); }
};
void Multiply(const float* x, const float* y, std::size_t n, float* out) { Map(x, y, n, out, Times()); }
void Add(const float* x, const float* y, std::size_t n, float* out) { Map(x, y, n, out, Sum()); }

void AddScaled(const float* x, const float* scale, const float* y, std::size_t n, float* out) {
  for (std::size_t i = 0; i < n; i += kN) {
    const std::size_t left = n - i;
    StoreSome(hn::MulAdd(LoadSome(scale + i, left), LoadSome(y + i, left), LoadSome(x + i, left)), out + i, left);
  }
}

void Mix(const float* x, const float* x0, const float* mix_x, const float* mix_x0, std::size_t n, float* out) {
  for (std::size_t i = 0; i < n; i += kN) {
    const std::size_t left = n - i;
    const V second = hn::Mul(LoadSome(mix_x0 + i, left), LoadSome(x0 + i, left));
    StoreSome(hn::MulAdd(LoadSome(mix_x + i, left), LoadSome(x + i, left), second), out + i, left);
  }
}

void Activate(Activation activation, const float* x, std::size_t n, float* out) {
  switch (activation) {
    case Activation::relu2:
      return Map(x, n, out, ReluSquare());
    case Activation::leaky_relu2:
      return Map(x, n, out, LeakyReluSquare());
    case Activation::swiglu:
      return Map(x, x + n, n, out, GatedSilu());
    case Activation::gelu:
      return Map(x, n, out, Gelu());
  }
}

void Rotate(float* head, std::size_t half, const float* cosines, const float* sines) {
  for (std::size_t i = 0; i < half; i += kN) {
    const std::size_t left = half - i;
    const V a = LoadSome(head + i, left), b = LoadSome(head + half + i, left);
    const V cosine = LoadSome(cosines + i, left), sine = LoadSome(sines + i, left);
    StoreSome(hn::MulAdd(a, cosine, hn::Mul(b, sine)), head + i, left);
    StoreSome(hn::MulAdd(b, cosine, hn::Neg(hn::Mul(a, sine))), head + half + i, left);
  }
}

// The largest value; not-a-number is passed over.
float Largest(const float* x, std::size_t n) {
  V largest = Constant(-HUGE_VALF);
  for (std::size_t i = 0; i < n; i += kN) {
    V value = LoadSome(x + i, n - i);
    if (n - i < kN) value = hn::IfThenElse(hn::FirstN(kF, n - i), value, largest);
    largest = hn::IfThenElse(hn::Gt(value, largest), value, largest);
  }
  return hn::GetLane(hn::MaxOfLanes(kF, largest));
}

float Softmax(float* scores, std::size_t n, float factor) {
  Scale(scores, factor, n, scores);
  const V largest = Constant(Largest(scores, n));
  for (std::size_t i = 0; i < n; i += kN)
    StoreSome(Exp(hn::Sub(LoadSome(scores + i, n - i), largest)), scores + i, n - i);
  Lanes lanes;
  Reduce(scores, n, lanes, Sum());
  return 1.0f / lanes.Join();
}

template <Softcap kSoftcap>
HWY_INLINE V Softcapped(V z, float cap, float inverse) {
  if (kSoftcap == Softcap::none) return z;
  const V scaled = hn::Mul(z, Constant(inverse));
  if (kSoftcap == Softcap::tanh) return hn::Mul(Constant(cap), Tanh(scaled));
  const V two = Constant(2.0f), one = Constant(1.0f), minus_two = Constant(-2.0f), minus_one = Constant(-1.0f);
  const V low = hn::IfThenElse(hn::Gt(scaled, minus_two), scaled, minus_two);
  const V u = hn::IfThenElse(hn::Lt(low, two), low, two);
  const V s = hn::Mul(u, u);
  const V p = hn::MulAdd(s, hn::MulAdd(s, Constant(1.0f / 15.0f), Constant(-1.0f / 3.0f)), one);
  const V t = hn::Mul(u, p);
  const V above = hn::IfThenElse(hn::Gt(t, minus_one), t, minus_one);
  return hn::Mul(Constant(cap), hn::IfThenElse(hn::Lt(above, one), above, one));
}

template <Softcap kSoftcap>
void Finish(const float* z, const float* bias, float cap, std::size_t n, float* out) {
  const float inverse = 1.0f / cap;
  for (std::size_t i = 0; i < n; i += kN) {
    V value = LoadSome(z + i, n - i);
    if (bias) value = hn::Add(value, LoadSome(bias + i, n - i));
    StoreSome(Softcapped<kSoftcap>(value, cap, inverse), out + i, n - i);
  }
}

void FinishLogits(const float* z, const float* bias, Softcap softcap, float cap, std::size_t n, float* out) {
  switch (softcap) {
    case Softcap::none:
      return Finish<Softcap::none>(z, bias, cap, n, out);
    case Softcap::tanh:
      return Finish<Softcap::tanh>(z, bias, cap, n, out);
    case Softcap::poly5:
      return Finish<Softcap::poly5>(z, bias, cap, n, out);
  }
}

struct ExpSum {
  float largest;
  HWY_INLINE V operator()(V lane, V x) const { return hn::Add(lane, Exp(hn::Sub(x, Constant(largest)))); }
};

void LogSoftmax(const float* logits, std::size_t n, float* out) {
  const float largest = Largest(logits, n);
  Lanes lanes;
  Reduce(logits, n, lanes, ExpSum{largest});
  const V log_sum = Constant(static_cast<float>(exact::log64(static_cast<double>(lanes.Join()))));
  for (std::size_t i = 0; i < n; i += kN)
    StoreSome(hn::Sub(hn::Sub(LoadSome(logits + i, n - i), Constant(largest)), log_sum), out + i, n - i);
}

void Exponentials(const float* logits, std::size_t n, float* out) {
  const V largest = Constant(Largest(logits, n));
  for (std::size_t i = 0; i < n; i += kN) StoreSome(Exp(hn::Sub(LoadSome(logits + i, n - i), largest)), out + i, n - i);
}

bool AllFinite(const float* x, std::size_t n) {
  const Words d;
  const auto exponent = hn::Set(d, 0x7f800000u);
  for (std::size_t i = 0; i < n; i += kN) {
    const auto bits = hn::And(hn::BitCast(d, LoadSome(x + i, n - i)), exponent);
    if (!hn::AllFalse(d, hn::Eq(bits, exponent))) return false;
  }
  return true;
}

// ---- of the backward pass ----

float Dot(const float* x, const float* y, std::size_t n) {
  Lanes lanes;
  std::size_t i = 0;
  for (; i + 16 <= n; i += 16)
    for (std::size_t v = 0; v < kVectors; ++v)
      lanes.part[v] = hn::MulAdd(hn::LoadU(kF, x + i + v * kN), hn::LoadU(kF, y + i + v * kN), lanes.part[v]);
  for (std::size_t v = 0; v < kVectors && i + v * kN < n; ++v) {
    const std::size_t left = n - i - v * kN;
    const V taken = hn::MulAdd(LoadSome(x + i + v * kN, left), LoadSome(y + i + v * kN, left), lanes.part[v]);
    lanes.part[v] = left >= kN ? taken : hn::IfThenElse(hn::FirstN(kF, left), taken, lanes.part[v]);
  }
  return lanes.Join();
}

void AddMultiple(const float* x, float factor, const float* y, std::size_t n, float* out) {
  const V f = Constant(factor);
  for (std::size_t i = 0; i < n; i += kN)
    StoreSome(hn::MulAdd(f, LoadSome(y + i, n - i), LoadSome(x + i, n - i)), out + i, n - i);
}

struct ReluSquareGradient {
  HWY_INLINE V operator()(V x, V d) const {
    return hn::IfThenElseZero(hn::Gt(x, hn::Zero(kF)), hn::Mul(hn::Add(x, x), d));
  }
};
struct LeakyReluSquareGradient {
  HWY_INLINE V operator()(V x, V d) const {
    return hn::Mul(hn::IfThenElse(hn::Gt(x, hn::Zero(kF)), hn::Add(x, x), hn::Mul(Constant(0.5f), x)), d);
  }
};
struct GeluGradient {
  HWY_INLINE V operator()(V x, V d) const {
    const V one = Constant(1.0f);
    const V below = hn::Mul(Constant(0.5f), hn::Add(one, Erf(hn::Mul(x, Constant(exact::kSqrtHalf)))));
    const V density = hn::Mul(Exp(hn::Mul(Constant(-0.5f), hn::Mul(x, x))), Constant(exact::kInverseSqrtTwoPi));
    return hn::Mul(hn::MulAdd(x, density, below), d);
  }
};

void GatedSiluGradient(const float* x, const float* d, std::size_t n, float* out) {
  const V one = Constant(1.0f);
  for (std::size_t i = 0; i < n; i += kN) {
    const std::size_t left = n - i;
    const V gate = LoadSome(x + i, left), up = LoadSome(x + n + i, left), slope = LoadSome(d + i, left);
    const V sigmoid = hn::Div(one, hn::Add(one, Exp(hn::Neg(gate))));
    StoreSome(hn::Mul(hn::Mul(slope, up), hn::Mul(sigmoid, hn::MulAdd(gate, hn::Sub(one, sigmoid), one))), out + i,
              left);
    StoreSome(hn::Mul(slope, hn::Mul(gate, sigmoid)), out + n + i, left);
  }
}

void ActivationGradient(Activation activation, const float* x, const float* d, std::size_t n, float* out) {
  switch (activation) {
    case Activation::relu2:
      return Map(x, d, n, out, ReluSquareGradient());
    case Activation::leaky_relu2:
      return Map(x, d, n, out, LeakyReluSquareGradient());
    case Activation::swiglu:
      return GatedSiluGradient(x, d, n, out);
    case Activation::gelu:
      return Map(x, d, n, out, GeluGradient());
  }
}

void SoftmaxGradient(const float* p, std::size_t n, float mean, float factor, float* d) {
  const V m = Constant(mean), f = Constant(factor);
  for (std::size_t i = 0; i < n; i += kN)
    StoreSome(hn::Mul(hn::Mul(LoadSome(p + i, n - i), hn::Sub(LoadSome(d + i, n - i), m)), f), d + i, n - i);
}

template <Softcap kSoftcap>
HWY_INLINE V SoftcapSlope(V z, float inverse) {
  const V one = Constant(1.0f);
  if (kSoftcap == Softcap::none) return one;
  const V u = hn::Mul(z, Constant(inverse));
  if (kSoftcap == Softcap::tanh) {
    const V t = Tanh(u);
    return hn::Sub(one, hn::Mul(t, t));
  }
  const V s = hn::Mul(u, u);
  const V t = hn::Mul(u, hn::MulAdd(s, hn::MulAdd(s, Constant(1.0f / 15.0f), Constant(-1.0f / 3.0f)), one));
  const auto inside = hn::And(hn::And(hn::Gt(u, Constant(-2.0f)), hn::Lt(u, Constant(2.0f))),
                              hn::And(hn::Gt(t, Constant(-1.0f)), hn::Lt(t, one)));
  return hn::IfThenElseZero(inside, hn::MulAdd(s, hn::MulAdd(s, Constant(1.0f / 3.0f), Constant(-1.0f)), one));
}

template <Softcap kSoftcap>
void Slopes(const float* z, const float* bias, float cap, std::size_t n, float* d) {
  const float inverse = 1.0f / cap;
  for (std::size_t i = 0; i < n; i += kN) {
    V value = LoadSome(z + i, n - i);
    if (bias) value = hn::Add(value, LoadSome(bias + i, n - i));
    StoreSome(hn::Mul(LoadSome(d + i, n - i), SoftcapSlope<kSoftcap>(value, inverse)), d + i, n - i);
  }
}

void SoftcapGradient(const float* z, const float* bias, Softcap softcap, float cap, std::size_t n, float* d) {
  switch (softcap) {
    case Softcap::none:
      return Slopes<Softcap::none>(z, bias, cap, n, d);
    case Softcap::tanh:
      return Slopes<Softcap::tanh>(z, bias, cap, n, d);
    case Softcap::poly5:
      return Slopes<Softcap::poly5>(z, bias, cap, n, d);
  }
}

Kernels MakeKernels(const char* name, const integer::Kernels& integer, const adds::Kernels& adds) {
  return {.name = name,
          .packing = integer.packing,
          .integer_packing = integer.integer_packing,
          .adds_packing = adds.packing,
          .decode = Decode,
          .product = Product,
          .quantize_row = QuantizeRow,
          .integer_product = integer.product,
          .adds_tables = adds.tables,
          .adds_product = adds.product,
          .rms_norm = RmsNorm,
          .layer_norm = LayerNorm,
          .multiply = Multiply,
          .scale = Scale,
          .add = Add,
          .add_scaled = AddScaled,
          .mix = Mix,
          .activate = Activate,
          .rotate = Rotate,
          .softmax = Softmax,
          .finish_logits = FinishLogits,
          .log_softmax = LogSoftmax,
          .exponentials = Exponentials,
          .all_finite = AllFinite,
          .dot = Dot,
          .add_multiple = AddMultiple,
          .activation_gradient = ActivationGradient,
          .softmax_gradient = SoftmaxGradient,
          .softcap_gradient = SoftcapGradient};
}

#endif
}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace par5
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace par5 {

std::vector<const Kernels*> vector_kernels() {
  const std::int64_t targets = hwy::SupportedTargets() & HWY_TARGETS;
  std::vector<const Kernels*> kernels;
#if HWY_TARGETS & HWY_AVX3
  static const Kernels avx512_vnni = N_AVX3::MakeKernels("avx512-vnni", integer::avx512_vnni(), adds::avx512());
  static const Kernels avx512_table = N_AVX3::MakeKernels("avx512-table", integer::avx512_table(), adds::avx512());
  static const Kernels avx512 = N_AVX3::MakeKernels("avx512", integer::avx2(), adds::avx512());
  if (targets & HWY_AVX3) {
    if (integer::cpu_has_avx512_vnni()) {
      kernels.push_back(&avx512_vnni);
      kernels.push_back(&avx512_table);
    }
    kernels.push_back(&avx512);
  }
#endif
#if HWY_TARGETS & HWY_AVX2
  static const Kernels avx2 = N_AVX2::MakeKernels("avx2", integer::avx2(), adds::avx2());
  if (targets & HWY_AVX2) kernels.push_back(&avx2);
#endif
#if HWY_TARGETS & HWY_NEON
  static const Kernels neon = N_NEON::MakeKernels("neon", integer::portable(), adds::portable());
  if (targets & HWY_NEON) kernels.push_back(&neon);
#endif
  return kernels;
}

}  // namespace par5
#endif
