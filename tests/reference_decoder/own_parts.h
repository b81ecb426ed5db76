// What the own coder's models share: docs/coder.md, sections 1 and 2, counters and the mixer's sum.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#include "parts.h"

namespace reference {

inline std::int32_t bits_of(float value) {
  std::int32_t bits;
  std::memcpy(&bits, &value, 4);
  return bits;
}
inline float clamp(float x, float a, float b) { return !(x > a) ? a : x < b ? x : b; }
inline float log2_of(float x) { return static_cast<float>(bits_of(x) - (127 << 23)) * std::ldexp(1.0f, -23); }

// ---- 1. range coder -------------------------------------------------------------------------------------------------

class RangeDecoder {
 public:
  explicit RangeDecoder(const Bytes& bytes) : bytes_(bytes) {
    for (int i = 0; i < 4; ++i) code_ = code_ << 8 | next();
  }
  bool bit(std::uint32_t p) {
    const std::uint32_t bound = (range_ >> 16) * p;
    const bool one = code_ < bound;
    if (one) {
      range_ = bound;
    } else {
      code_ -= bound;
      range_ -= bound;
    }
    while (range_ < (1u << 24)) {
      range_ <<= 8;
      code_ = code_ << 8 | next();
    }
    return one;
  }
  std::uint32_t plain(int count) {
    std::uint32_t value = 0;
    for (int i = 0; i < count; ++i) value = value << 1 | static_cast<std::uint32_t>(bit(32768));
    return value;
  }
  void finish() const { require(at_ == bytes_.size(), "a stream of the own coder has another length"); }

 private:
  std::uint32_t next() {
    require(at_ < bytes_.size(), "a stream of the own coder ends early");
    return bytes_[at_++];
  }
  const Bytes& bytes_;
  std::size_t at_ = 0;
  std::uint32_t range_ = 0xffffffffu, code_ = 0;
};

// ---- 2. tables: own_tables.cpp
// ---------------------------------------------------------------------------------------

struct Tables {
  std::vector<float> stretch, squash, tail, log_tail, odds, rate, confidence;
  Tables();
};
const Tables& tables();
float stretch(float p);
float squash(float x);
float tail(float t);
float log_tail(float t);
float odds(float d);

// ---- counters and the mixer -----------------------------------------------------------------------------------------

struct Counter {
  float p = 0.5f;
  int n = 0;
  void learn(float bit, int limit) {
    p = p + (bit - p) * tables().rate[static_cast<std::size_t>(n)];
    n = std::min(n + 1, limit);
  }
};
using Lanes = std::vector<float>;
inline float dot(const Lanes& a, const Lanes& b) {
  float sum[16];
  for (int i = 0; i < 16; ++i) sum[i] = a[static_cast<std::size_t>(i)] * b[static_cast<std::size_t>(i)];
  for (int i = 0; i < 8; ++i) sum[i] = sum[i] + sum[i + 8];
  for (int i = 0; i < 4; ++i) sum[i] = sum[i] + sum[i + 4];
  return (sum[0] + sum[2]) + (sum[1] + sum[3]);
}

}  // namespace reference
