// Internal to the vector kernels: norms, elementwise expressions, softmax, logits.
#if defined(PAR5_ENGINE_VECTOR_ROWS_INL_H_) == defined(HWY_TARGET_TOGGLE)  // once for every instruction set
#ifdef PAR5_ENGINE_VECTOR_ROWS_INL_H_
#undef PAR5_ENGINE_VECTOR_ROWS_INL_H_
#else
#define PAR5_ENGINE_VECTOR_ROWS_INL_H_
#endif

#include "core/config.h"
#include "engine/frequencies.h"
#include "engine/vector-inl.h"

HWY_BEFORE_NAMESPACE();
namespace par5 {
namespace HWY_NAMESPACE {
namespace {
#if PAR5_VECTOR_TARGET
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
  V most = Constant(-HUGE_VALF);
  for (std::size_t i = 0; i < n; i += kN) {
    const V value = hn::Mul(LoadSome(scores + i, n - i), Constant(factor));
    StoreSome(value, scores + i, n - i);
    const V larger = hn::IfThenElse(hn::Gt(value, most), value, most);
    most = n - i >= kN ? larger : hn::IfThenElse(hn::FirstN(kF, n - i), larger, most);
  }
  const V largest = Constant(hn::GetLane(hn::MaxOfLanes(kF, most)));
  Lanes lanes;
  for (std::size_t i = 0; i < n; i += 16)
    for (std::size_t v = 0; v < kVectors && i + v * kN < n; ++v) {
      const std::size_t at = i + v * kN, left = n - at;
      const V value = Exp(hn::Sub(LoadSome(scores + at, left), largest));
      StoreSome(value, scores + at, left);
      const V taken = hn::Add(lanes.part[v], value);
      lanes.part[v] = left >= kN ? taken : hn::IfThenElse(hn::FirstN(kF, left), taken, lanes.part[v]);
    }
  return 1.0f / lanes.Join();
}

// All bits of a lane: its value is infinite or not a number.
HWY_INLINE hn::Vec<Words> NotFinite(V value) {
  const Words d;
  const auto exponent = hn::Set(d, 0x7f800000u);
  return hn::VecFromMask(d, hn::Eq(hn::And(hn::BitCast(d, value), exponent), exponent));
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
bool Finish(const float* z, const float* bias, float cap, std::size_t n, float* out) {
  const float inverse = 1.0f / cap;
  auto not_finite = hn::Zero(Words());
  for (std::size_t i = 0; i < n; i += kN) {
    V value = LoadSome(z + i, n - i);
    if (bias) value = hn::Add(value, LoadSome(bias + i, n - i));
    value = Softcapped<kSoftcap>(value, cap, inverse);
    not_finite = hn::Or(not_finite, NotFinite(value));
    StoreSome(value, out + i, n - i);
  }
  return hn::AllTrue(Words(), hn::Eq(not_finite, hn::Zero(Words())));
}

bool FinishLogits(const float* z, const float* bias, Softcap softcap, float cap, std::size_t n, float* out) {
  switch (softcap) {
    case Softcap::none:
      return Finish<Softcap::none>(z, bias, cap, n, out);
    case Softcap::tanh:
      return Finish<Softcap::tanh>(z, bias, cap, n, out);
    case Softcap::poly5:
      break;
  }
  return Finish<Softcap::poly5>(z, bias, cap, n, out);
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

std::uint64_t Frequencies(const float* exponentials, std::size_t n, double factor, std::uint64_t* out) {
  const hn::CappedTag<double, 8> d;
  const hn::Rebind<float, decltype(d)> narrow;
  const hn::RebindToUnsigned<decltype(d)> integers;
  // 2^52 more, a whole number below 2^52 stands in the low bits.
  const auto shift = hn::Set(d, 0x1p52);
  const auto bias = hn::Sub(hn::BitCast(integers, shift), hn::Set(integers, 1));
  auto totals = hn::Zero(integers);
  std::size_t i = 0;
  for (; i + hn::Lanes(d) <= n; i += hn::Lanes(d)) {
    const auto value = hn::Mul(hn::PromoteTo(d, hn::LoadU(narrow, exponentials + i)), hn::Set(d, factor));
    const auto frequency = hn::Sub(hn::BitCast(integers, hn::Add(hn::Floor(value), shift)), bias);
    hn::StoreU(frequency, integers, out + i);
    totals = hn::Add(totals, frequency);
  }
  std::uint64_t total = hn::GetLane(hn::SumOfLanes(integers, totals));
  for (; i < n; ++i) {
    out[i] = 1 + static_cast<std::uint64_t>(static_cast<double>(exponentials[i]) * factor);
    total += out[i];
  }
  return total;
}

// engine/frequencies.cpp says the same as plain loops.
using Doubles = hn::CappedTag<double, 8>;
using LongWords = hn::RebindToUnsigned<Doubles>;
constexpr std::uint64_t kTwo52Bits = 0x4330000000000000u;

HWY_INLINE hn::Vec<Doubles> LogOf(hn::Vec<Doubles> x) {
  const Doubles d;
  const LongWords words;
  const auto half_root = hn::Set(words, 0x3fe6a09e667f3bcdu);
  const auto shifted = hn::Sub(hn::BitCast(words, x), half_root);
  const auto exponent = hn::Or(hn::ShiftRight<52>(shifted), hn::Set(words, kTwo52Bits));
  const auto e = hn::Sub(hn::BitCast(d, exponent), hn::Set(d, 0x1p52));
  const auto m = hn::BitCast(d, hn::Add(hn::And(shifted, hn::Set(words, 0x000fffffffffffffu)), half_root));
  const auto one = hn::Set(d, 1.0);
  const auto s = hn::Div(hn::Sub(m, one), hn::Add(m, one));
  const auto t = hn::Mul(s, s);
  auto p = hn::Set(d, 1.0 / 15.0);
  for (const double next : {1.0 / 13.0, 1.0 / 11.0, 1.0 / 9.0, 1.0 / 7.0, 1.0 / 5.0, 1.0 / 3.0, 1.0})
    p = hn::Add(hn::Mul(p, t), hn::Set(d, next));
  return hn::Add(hn::Mul(e, hn::Set(d, 0x1.62e42fefa39efp-1)), hn::Mul(hn::Mul(hn::Set(d, 2.0), s), p));
}

HWY_INLINE hn::Vec<Doubles> ToDoubles(hn::Vec<LongWords> value) {
  const Doubles d;
  const LongWords words;
  const auto bits = hn::Set(words, kTwo52Bits);
  const auto two52 = hn::Set(d, 0x1p52);
  const auto low = hn::Sub(hn::BitCast(d, hn::Or(hn::And(value, hn::Set(words, 0xffffffffu)), bits)), two52);
  const auto high = hn::Sub(hn::BitCast(d, hn::Or(hn::ShiftRight<32>(value), bits)), two52);
  return hn::Add(hn::Mul(high, hn::Set(d, 0x1p32)), low);
}

void LogShares(const std::uint64_t* frequencies, std::uint64_t total, std::size_t n, float* out) {
  const Doubles d;
  const LongWords words;
  const hn::Rebind<float, Doubles> narrow;
  const auto log_total = LogOf(ToDoubles(hn::Set(words, total)));
  std::size_t i = 0;
  for (; i + hn::Lanes(d) <= n; i += hn::Lanes(d)) {
    const auto share = hn::Sub(LogOf(ToDoubles(hn::LoadU(words, frequencies + i))), log_total);
    hn::StoreU(hn::DemoteTo(narrow, share), narrow, out + i);
  }
  log_shares({frequencies + i, n - i}, total, {out + i, n - i});
}

bool AllFinite(const float* x, std::size_t n) {
  auto not_finite = hn::Zero(Words());
  for (std::size_t i = 0; i < n; i += kN) not_finite = hn::Or(not_finite, NotFinite(LoadSome(x + i, n - i)));
  return hn::AllTrue(Words(), hn::Eq(not_finite, hn::Zero(Words())));
}

#endif  // PAR5_VECTOR_TARGET
}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace par5
HWY_AFTER_NAMESPACE();

#endif
