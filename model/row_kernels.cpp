#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "model/row_kernels.cpp"
#include "hwy/foreach_target.h"
// After foreach_target.h, which includes this file once per instruction set.
#include "model/kernels-inl.h"

HWY_BEFORE_NAMESPACE();
namespace par5::kernels {
namespace HWY_NAMESPACE {

template <class T, class U>
void rms_norm_rows(const RmsNorm& job, const T* x, U* normed, std::size_t begin, std::size_t end) {
  const std::size_t n = job.width;
  for (std::size_t row = begin; row < end; ++row) {
    const T* in = x + row * n;
    V squares = hn::Zero(Tag());
    for (std::size_t i = 0; i < n; i += lanes()) {
      const V value = load(in, i, n);
      squares = hn::MulAdd(value, value, squares);
    }
    const float inverse = 1.0f / std::sqrt(sum_of(squares) / static_cast<float>(n) + job.epsilon);
    job.inverse[row] = inverse;
    const V factor = hn::Set(Tag(), inverse);
    for (std::size_t i = 0; i < n; i += lanes()) store(hn::Mul(load(in, i, n), factor), normed + row * n, i, n);
  }
}

void RmsNormRows(const RmsNorm& job, std::size_t begin, std::size_t end) {
  with_element(job.x, [&](auto* x) {
    with_element(job.normed, [&](auto* normed) { rms_norm_rows(job, x, normed, begin, end); });
  });
}

template <class T, class U>
void rms_norm_backward_rows(const RmsNorm& job, const T* x, const U* gradient, T* out, std::size_t begin,
                            std::size_t end) {
  const std::size_t n = job.width;
  for (std::size_t row = begin; row < end; ++row) {
    const T* in = x + row * n;
    const U* incoming = gradient + row * n;
    V dot = hn::Zero(Tag());
    for (std::size_t i = 0; i < n; i += lanes()) dot = hn::MulAdd(load(in, i, n), load(incoming, i, n), dot);
    const float r = job.inverse[row];
    const V inverse = hn::Set(Tag(), r), along = hn::Set(Tag(), r * r * r * sum_of(dot) / static_cast<float>(n));
    for (std::size_t i = 0; i < n; i += lanes())
      store(hn::NegMulAdd(along, load(in, i, n), hn::Mul(inverse, load(incoming, i, n))), out + row * n, i, n);
  }
}

void RmsNormBackwardRows(const RmsNorm& job, std::size_t begin, std::size_t end) {
  with_element(job.x, [&](auto* x) {
    with_element(job.normed_gradient, [&](auto* gradient) {
      rms_norm_backward_rows(job, x, gradient, static_cast<decltype(x)>(job.x_gradient.data), begin, end);
    });
  });
}

// A row of a border at lanes i: its skip, and what is mixed with x0.
HWY_INLINE V skip_of(const Border& job, V end, std::size_t row, std::size_t i) {
  return job.skip ? load(job.skip + row * job.width, i, job.width) : end;
}
HWY_INLINE V joined(const Border& job, V end, V skip, std::size_t i) {
  return job.skip_weight ? hn::MulAdd(load(job.skip_weight, i, job.width), skip, end) : end;
}

template <class T>
void border_rows(const Border& job, const T* branch, T* normed, std::size_t begin, std::size_t end) {
  const std::size_t n = job.width;
  for (std::size_t row = begin; row < end; ++row) {
    float* sum = job.sum + row * n;
    V squares = hn::Zero(Tag());
    for (std::size_t i = 0; i < n; i += lanes()) {
      V value = load(job.x + row * n, i, n);
      if (branch) value = hn::MulAdd(load(job.scale, i, n), load(branch + row * n, i, n), value);
      if (job.mix) {
        if (job.end) store(value, job.end + row * n, i, n);
        value = hn::MulAdd(load(job.mix, i, n), joined(job, value, skip_of(job, value, row, i), i),
                           hn::Mul(load(job.mix + n, i, n), load(job.x0 + row * n, i, n)));
      }
      store(value, sum, i, n);
      squares = hn::MulAdd(value, value, squares);
    }
    const float inverse = 1.0f / std::sqrt(sum_of(squares) / static_cast<float>(n) + job.epsilon);
    job.inverse[row] = inverse;
    const V factor = hn::Set(Tag(), inverse);
    for (std::size_t i = 0; i < n; i += lanes()) store(hn::Mul(load(sum, i, n), factor), normed + row * n, i, n);
  }
}

void BorderRows(const Border& job, std::size_t begin, std::size_t end) {
  with_element(job.normed, [&](auto* normed) {
    border_rows(job, static_cast<decltype(normed)>(job.branch.data), normed, begin, end);
  });
}

template <class T>
void border_backward_rows(const Border& job, const BorderGradients& gradients, const T* branch, const T* normed,
                          T* branch_gradient, std::size_t begin, std::size_t end) {
  const std::size_t n = job.width;
  const Tag d;
  for (std::size_t row = begin; row < end; ++row) {
    const std::size_t at = row * n;
    V inverse = hn::Zero(d), along = hn::Zero(d);
    if (normed) {
      V dot = hn::Zero(d);
      for (std::size_t i = 0; i < n; i += lanes())
        dot = hn::MulAdd(load(job.sum + at, i, n), load(normed + at, i, n), dot);
      const float r = job.inverse[row];
      inverse = hn::Set(d, r);
      along = hn::Set(d, r * r * r * sum_of(dot) / static_cast<float>(n));
    }
    for (std::size_t i = 0; i < n; i += lanes()) {
      V gradient = gradients.sum ? load(gradients.sum + at, i, n) : hn::Zero(d);
      if (normed) {
        gradient = hn::MulAdd(inverse, load(normed + at, i, n), gradient);
        gradient = hn::NegMulAdd(along, load(job.sum + at, i, n), gradient);
      }
      if (job.mix) {
        const V end_value = load(job.end + at, i, n), skip = skip_of(job, end_value, row, i);
        add_to(hn::Mul(gradient, joined(job, end_value, skip, i)), gradients.mix, i, n);
        add_to(hn::Mul(gradient, load(job.x0 + at, i, n)), gradients.mix + n, i, n);
        const V later = gradients.later_x0 ? load(gradients.later_x0 + at, i, n) : hn::Zero(d);
        store(hn::MulAdd(gradient, load(job.mix + n, i, n), later), gradients.x0 + at, i, n);
        gradient = hn::Mul(gradient, load(job.mix, i, n));
        if (job.skip_weight) {
          const V weight = load(job.skip_weight, i, n);
          add_to(hn::Mul(gradient, skip), gradients.skip_weight, i, n);
          if (job.skip)
            store(hn::Mul(gradient, weight), gradients.skip + at, i, n);
          else
            gradient = hn::MulAdd(gradient, weight, gradient);
        }
        if (gradients.end) gradient = hn::Add(gradient, load(gradients.end + at, i, n));
      }
      if (branch) {
        add_to(hn::Mul(gradient, load(branch + at, i, n)), gradients.scale, i, n);
        store(hn::Mul(gradient, load(job.scale, i, n)), branch_gradient + at, i, n);
      }
      store(gradient, gradients.x + at, i, n);
    }
  }
}

void BorderBackwardRows(const Border& job, const BorderGradients& gradients, std::size_t begin, std::size_t end) {
  with_element(job.normed, [&](auto* element) {
    using Pointer = decltype(element);
    border_backward_rows(job, gradients, static_cast<Pointer>(job.branch.data),
                         static_cast<Pointer>(gradients.normed.data), static_cast<Pointer>(gradients.branch.data),
                         begin, end);
  });
}

template <class T>
void squared_relu_rows(const SquaredRelu& job, const T* hidden, T* active, std::size_t begin, std::size_t end) {
  const std::size_t n = job.width;
  const V slope = hn::Set(Tag(), job.slope);
  for (std::size_t row = begin; row < end; ++row) {
    const T* in = hidden + row * n;
    const auto squared = [&](std::size_t i) {
      const V h = load(in, i, n), f = hn::Max(h, hn::Mul(slope, h));
      return hn::Mul(f, f);
    };
    V factor = hn::Set(Tag(), 1.0f);
    if (job.inverse) {
      V squares = hn::Zero(Tag());
      for (std::size_t i = 0; i < n; i += lanes()) {
        const V a = squared(i);
        squares = hn::MulAdd(a, a, squares);
      }
      job.inverse[row] = 1.0f / std::sqrt(sum_of(squares) / static_cast<float>(n) + job.epsilon);
      factor = hn::Set(Tag(), job.inverse[row]);
    }
    for (std::size_t i = 0; i < n; i += lanes()) store(hn::Mul(squared(i), factor), active + row * n, i, n);
  }
}

void SquaredReluRows(const SquaredRelu& job, std::size_t begin, std::size_t end) {
  with_element(job.hidden, [&](auto* hidden) {
    squared_relu_rows(job, hidden, static_cast<decltype(hidden)>(job.active.data), begin, end);
  });
}

template <class T>
void squared_relu_backward_rows(const SquaredRelu& job, const T* hidden, const T* gradient, T* out, std::size_t begin,
                                std::size_t end) {
  const std::size_t n = job.width;
  const Tag d;
  const V slope = hn::Set(d, job.slope), two = hn::Set(d, 2.0f), zero = hn::Zero(d);
  for (std::size_t row = begin; row < end; ++row) {
    const T* in = hidden + row * n;
    const T* incoming = gradient + row * n;
    V inverse = hn::Set(d, 1.0f), along = zero;
    if (job.inverse) {
      V dot = zero;
      for (std::size_t i = 0; i < n; i += lanes()) {
        const V h = load(in, i, n), f = hn::Max(h, hn::Mul(slope, h));
        dot = hn::MulAdd(hn::Mul(f, f), load(incoming, i, n), dot);
      }
      const float r = job.inverse[row];
      inverse = hn::Set(d, r);
      along = hn::Set(d, r * r * r * sum_of(dot) / static_cast<float>(n));
    }
    for (std::size_t i = 0; i < n; i += lanes()) {
      const V h = load(in, i, n), f = hn::Max(h, hn::Mul(slope, h));
      const V active = hn::NegMulAdd(along, hn::Mul(f, f), hn::Mul(inverse, load(incoming, i, n)));
      const V rate = hn::IfThenElse(hn::Gt(h, zero), two, hn::Mul(two, slope));
      store(hn::Mul(hn::Mul(active, rate), f), out + row * n, i, n);
    }
  }
}

void SquaredReluBackwardRows(const SquaredRelu& job, std::size_t begin, std::size_t end) {
  with_element(job.hidden, [&](auto* hidden) {
    using Pointer = decltype(hidden);
    squared_relu_backward_rows(job, hidden, static_cast<Pointer>(job.active_gradient.data),
                               static_cast<Pointer>(job.hidden_gradient.data), begin, end);
  });
}

void NesterovRowsOf(const NesterovRows& job, std::size_t begin, std::size_t end) {
  const std::size_t n = job.width;
  const V decay = hn::Set(Tag(), job.decay);
  for (std::size_t row = begin; row < end; ++row) {
    const float* gradient = job.gradient + row * n;
    float *momentum = job.momentum + row * n, *direction = job.direction + row * n;
    V squares = hn::Zero(Tag());
    for (std::size_t i = 0; i < n; i += lanes()) {
      const V slope = load(gradient, i, n), moved = hn::MulAdd(decay, load(momentum, i, n), slope),
              ahead = hn::MulAdd(decay, moved, slope);
      store(moved, momentum, i, n);
      store(ahead, direction, i, n);
      squares = hn::MulAdd(ahead, ahead, squares);
    }
    if (!job.norm) continue;
    const V factor = hn::Set(Tag(), 1.0f / std::sqrt(sum_of(squares) / static_cast<float>(n) + job.epsilon));
    for (std::size_t i = 0; i < n; i += lanes()) store(hn::Mul(load(direction, i, n), factor), direction, i, n);
  }
}

const char* InstructionSet() { return hwy::TargetName(HWY_TARGET); }

}  // namespace HWY_NAMESPACE
}  // namespace par5::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace par5::kernels {

HWY_EXPORT(RmsNormRows);
HWY_EXPORT(RmsNormBackwardRows);
HWY_EXPORT(BorderRows);
HWY_EXPORT(BorderBackwardRows);
HWY_EXPORT(SquaredReluRows);
HWY_EXPORT(SquaredReluBackwardRows);
HWY_EXPORT(NesterovRowsOf);
HWY_EXPORT(InstructionSet);

const char* instruction_set() { return HWY_DYNAMIC_DISPATCH(InstructionSet)(); }
void rms_norm(const RmsNorm& job, std::size_t begin, std::size_t end) {
  HWY_DYNAMIC_DISPATCH(RmsNormRows)(job, begin, end);
}
void rms_norm_backward(const RmsNorm& job, std::size_t begin, std::size_t end) {
  HWY_DYNAMIC_DISPATCH(RmsNormBackwardRows)(job, begin, end);
}
void border(const Border& job, std::size_t begin, std::size_t end) {
  HWY_DYNAMIC_DISPATCH(BorderRows)(job, begin, end);
}
void border_backward(const Border& job, const BorderGradients& gradients, std::size_t begin, std::size_t end) {
  HWY_DYNAMIC_DISPATCH(BorderBackwardRows)(job, gradients, begin, end);
}
void squared_relu(const SquaredRelu& job, std::size_t begin, std::size_t end) {
  HWY_DYNAMIC_DISPATCH(SquaredReluRows)(job, begin, end);
}
void squared_relu_backward(const SquaredRelu& job, std::size_t begin, std::size_t end) {
  HWY_DYNAMIC_DISPATCH(SquaredReluBackwardRows)(job, begin, end);
}

void nesterov_rows(const NesterovRows& job, std::size_t begin, std::size_t end) {
  HWY_DYNAMIC_DISPATCH(NesterovRowsOf)(job, begin, end);
}

}  // namespace par5::kernels
#endif
