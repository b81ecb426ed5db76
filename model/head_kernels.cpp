#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "model/head_kernels.cpp"
#include "hwy/foreach_target.h"
// After foreach_target.h, which includes this file once per instruction set.
#include "hwy/contrib/math/math-inl.h"
#include "model/kernels-inl.h"

HWY_BEFORE_NAMESPACE();
namespace par5::kernels {
namespace HWY_NAMESPACE {

// The capped logit and, if wanted, the cap's slope there.
template <Softcap kSoftcap>
HWY_INLINE V capped(V z, V value, V reciprocal, V* slope) {
  const Tag d;
  const V one = hn::Set(d, 1.0f);
  if constexpr (kSoftcap == Softcap::none) {
    if (slope) *slope = one;
    return z;
  } else if constexpr (kSoftcap == Softcap::tanh) {
    const V t = hn::Tanh(d, hn::Mul(z, reciprocal));
    if (slope) *slope = hn::NegMulAdd(t, t, one);
    return hn::Mul(value, t);
  } else {
    // x86's minimum and maximum give the second operand where one is NaN: so NaN passes through, as in the eager form.
    const V bound = hn::Set(d, 2.0f), raw = hn::Mul(z, reciprocal), u = hn::Min(bound, hn::Max(hn::Neg(bound), raw));
    const V square = hn::Mul(u, u);
    const V inner = hn::MulAdd(square, hn::MulSub(square, hn::Set(d, 1.0f / 15), hn::Set(d, 1.0f / 3)), one);
    const V curve = hn::Mul(u, inner);
    // The curve reaches 1 before u reaches 2, so being inside it is being inside both clamps.
    if (slope) {
      const V rate = hn::MulAdd(square, hn::MulSub(square, hn::Set(d, 1.0f / 3), one), one);
      *slope = hn::IfThenElseZero(hn::Le(hn::Abs(curve), one), rate);
    }
    return hn::Mul(value, hn::Min(one, hn::Max(hn::Neg(one), curve)));
  }
}

template <Softcap kSoftcap, class T>
void logit_loss_rows(const LogitLoss& job, T* logits, std::size_t begin, std::size_t end) {
  const Tag d;
  const std::size_t n = job.vocab;
  const V value = hn::Set(d, job.softcap_value), reciprocal = hn::Set(d, 1.0f / job.softcap_value);
  const V cooling = hn::Set(d, 1.0f / job.temperature);
  for (std::size_t row = begin; row < end; ++row) {
    T* in = logits + row * n;
    const auto biased = [&](std::size_t i) {
      const V z = load(in, i, n);
      return job.bias ? hn::Add(z, load(job.bias, i, n)) : z;
    };
    const auto logit = [&](std::size_t i) HWY_ATTR {
      const V z = capped<kSoftcap>(biased(i), value, reciprocal, nullptr);
      return job.offsets ? hn::MulAdd(z, cooling, load(job.offsets, i, n)) : hn::Mul(z, cooling);
    };
    // What is taken out of every logit before its power: their bound, where it is no more than float32 can bear, else
    // the maximum.
    float shift = job.softcap_value / job.temperature + job.largest_offset;
    if (kSoftcap == Softcap::none || shift > 40) {
      V highest = hn::Set(d, -3e38f);
      for (std::size_t i = 0; i < n; i += lanes()) {
        const V z = logit(i);
        highest = hn::Max(highest, i + lanes() <= n ? z : hn::IfThenElse(hn::FirstN(d, n - i), z, highest));
      }
      shift = hn::GetLane(hn::MaxOfLanes(d, highest));
    }
    const auto target = static_cast<std::size_t>(job.targets[row]);
    V sums = hn::Zero(d);
    for (std::size_t i = 0; i < n; i += lanes()) {
      const V z = logit(i);
      V power = power_of_two(hn::Mul(hn::Sub(z, hn::Set(d, shift)), hn::Set(d, kLog2e)));
      if (HWY_UNLIKELY(i + lanes() > n)) power = hn::IfThenElseZero(hn::FirstN(d, n - i), power);
      if (HWY_UNLIKELY(target - i < lanes())) {
        HWY_ALIGN float values[kMostLanes];
        hn::Store(z, d, values);
        job.target_logit[row] = values[target - i];
      }
      sums = hn::Add(sums, power);
      store(power, job.scratch, i, n);
    }
    const float sum = sum_of(sums), logsum = shift + std::log(sum);
    job.logsum[row] = logsum;
    if (!job.gradient) continue;
    const V share = hn::Set(d, job.factor * (1 + 2 * job.z_loss * logsum) / sum);
    const V whole = hn::Set(d, job.factor);
    for (std::size_t i = 0; i < n; i += lanes()) {
      V slope;
      capped<kSoftcap>(biased(i), value, reciprocal, &slope);
      V gradient = hn::Mul(share, load(job.scratch, i, n));
      if (HWY_UNLIKELY(target - i < lanes())) {
        const auto at_target = hn::Eq(hn::Iota(d, 0.0f), hn::Set(d, static_cast<float>(target - i)));
        const V of_target = hn::IfThenElseZero(at_target, whole);
        if (job.target_gradient) {
          const V alone = hn::Neg(hn::Mul(of_target, slope));
          job.target_gradient[row] = sum_of(alone);
          if (job.bias_gradient) add_to(alone, job.bias_gradient, i, n);
        } else {
          gradient = hn::Sub(gradient, of_target);
        }
      }
      gradient = hn::Mul(gradient, slope);
      if (job.bias_gradient) add_to(gradient, job.bias_gradient, i, n);
      store(gradient, in, i, n);
    }
  }
}

void LogitLossRows(const LogitLoss& job, std::size_t begin, std::size_t end) {
  with_element(job.logits, [&](auto* logits) {
    switch (job.softcap) {
      case Softcap::none:
        return logit_loss_rows<Softcap::none>(job, logits, begin, end);
      case Softcap::tanh:
        return logit_loss_rows<Softcap::tanh>(job, logits, begin, end);
      case Softcap::poly5:
        return logit_loss_rows<Softcap::poly5>(job, logits, begin, end);
    }
  });
}

}  // namespace HWY_NAMESPACE
}  // namespace par5::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace par5::kernels {

HWY_EXPORT(LogitLossRows);

void logit_loss(const LogitLoss& job, std::size_t begin, std::size_t end) {
  HWY_DYNAMIC_DISPATCH(LogitLossRows)(job, begin, end);
}

}  // namespace par5::kernels
#endif
