// The processor's floating-point mode that the exact arithmetic is defined for: round to nearest even, subnormal
// numbers kept (no flush to zero, no denormals-are-zero), no traps.
#pragma once

#include <cstdint>

#if defined(__x86_64__) || defined(__i386__)
#include <xmmintrin.h>
#endif

namespace par5 {

// Sets the mode for its thread and restores the caller's mode at its end.
class FloatState {
 public:
#if defined(__x86_64__) || defined(__i386__)
  FloatState() : saved_(_mm_getcsr()) { _mm_setcsr(0x1f80); }
  ~FloatState() { _mm_setcsr(saved_); }
#elif defined(__aarch64__)
  FloatState() {
    asm volatile("mrs %0, fpcr" : "=r"(saved_));
    asm volatile("msr fpcr, %0" : : "r"(std::uint64_t{0}));
  }
  ~FloatState() { asm volatile("msr fpcr, %0" : : "r"(saved_)); }
#else
  FloatState() = default;
#endif
  FloatState(const FloatState&) = delete;
  FloatState& operator=(const FloatState&) = delete;

#if defined(__x86_64__) || defined(__i386__)
 private:
  unsigned saved_;
#elif defined(__aarch64__)
 private:
  std::uint64_t saved_ = 0;
#endif
};

}  // namespace par5
