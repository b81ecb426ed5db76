// docs/coder.md, sections 8 and 9.
#include <algorithm>
#include <map>
#include <utility>

#include "own_coder.h"
#include "own_parts.h"

namespace reference {

// ---- 8. fp16 vectors ------------------------------------------------------------------------------------------------

std::vector<std::vector<std::uint16_t>> decode_halves(const std::vector<std::size_t>& lengths, const Bytes& stream) {
  RangeDecoder coder(stream);
  std::map<std::pair<int, int>, std::map<std::pair<int, int>, Counter>> counters;  // (byte, k), (context, path)
  std::map<std::pair<int, int>, Lanes> weights;                                    // (byte, bit)
  const auto code_byte = [&](int which, const int(&contexts)[5]) {
    int path = 1;
    for (int b = 7; b >= 0; --b) {
      Counter* five[5];
      Lanes inputs(16, 0);
      for (int k = 0; k < 5; ++k) {
        five[k] = &counters[{which, k}][{contexts[k], path}];
        const auto i = static_cast<std::size_t>(k);
        inputs[i] = k == 0
                        ? stretch(five[0]->p)
                        : (stretch(five[k]->p) - inputs[0]) * tables().confidence[static_cast<std::size_t>(five[k]->n)];
      }
      inputs[5] = 0.3f;
      Lanes& vector = weights[{which, b}];
      if (vector.empty()) vector = {1, .25f, .25f, .25f, .25f, .25f, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
      const float p = squash(clamp(dot(vector, inputs), -9, 9));
      const bool one = coder.bit(static_cast<std::uint32_t>(p * 65536.0f));
      const float bit = one ? 1 : 0, step = (bit - p) * 0.004f;
      for (std::size_t i = 0; i < 16; ++i) vector[i] = vector[i] + step * inputs[i];
      for (Counter* counter : five) counter->learn(bit, 250);
      path = 2 * path + one;
    }
    return path & 255;
  };
  std::map<std::size_t, std::vector<int>> last;
  std::vector<std::vector<std::uint16_t>> decoded;
  for (const std::size_t length : lengths) {
    std::vector<int>& above = last[length];
    above.resize(length, 0);
    decoded.emplace_back();
    int l = 0, l2 = 0;
    for (std::size_t i = 0; i < length; ++i) {
      const int a = above[i];
      const int h = code_byte(0, {0, l >> 8, a >> 8, (l >> 12) * 16 + (a >> 12), (l >> 11) * 8 + (l2 >> 13)});
      const bool like_left = l >> 8 == h, like_above = a >> 8 == h;
      const int low = code_byte(1, {0, h, like_above ? 1 + (a >> 4 & 15) : 0, like_left ? 1 + (l >> 4 & 15) : 0,
                                    (like_above ? 1 + (a >> 6 & 3) : 0) * 8 + (like_left ? 1 + (l >> 6 & 3) : 0)});
      l2 = l;
      l = above[i] = h << 8 | low;
      decoded.back().push_back(static_cast<std::uint16_t>(l));
    }
  }
  coder.finish();
  return decoded;
}

// ---- 9. byte strings ------------------------------------------------------------------------------------------------

Bytes decode_bytes(std::size_t length, const Bytes& stream) {
  RangeDecoder coder(stream);
  int slot_bits = 8;
  while (slot_bits < 20 && (std::uint64_t{16} * length) >> slot_bits != 0) ++slot_bits;
  const int orders[6] = {0, 1, 2, 3, 4, 6};
  std::vector<std::vector<Counter>> counters(6, std::vector<Counter>(std::size_t{1} << slot_bits));
  std::vector<Lanes> weights(7, Lanes{1, .35f, .35f, .35f, .35f, .35f, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0});
  std::uint64_t history = 0;
  Bytes decoded;
  while (decoded.size() < length) {
    std::uint64_t path = 1;
    for (int b = 0; b < 8; ++b) {
      Counter* six[6];
      std::size_t seen = 0;
      Lanes inputs(16, 0);
      for (std::size_t k = 0; k < 6; ++k) {
        const std::uint64_t last = history % (std::uint64_t{1} << (8 * orders[k]));
        six[k] = &counters[k][(last * 256 + path) * 11400714819323198485u >> (64 - slot_bits)];
        if (seen == k && six[k]->n > 0) ++seen;
        inputs[k] = k == 0
                        ? stretch(six[0]->p)
                        : (stretch(six[k]->p) - inputs[0]) * tables().confidence[static_cast<std::size_t>(six[k]->n)];
      }
      inputs[6] = 0.3f;
      Lanes& vector = weights[seen];
      const float p = squash(clamp(dot(vector, inputs), -9, 9));
      const bool one = coder.bit(static_cast<std::uint32_t>(p * 65536.0f));
      const float bit = one ? 1 : 0, step = (bit - p) * 0.015f;
      for (std::size_t i = 0; i < 16; ++i) vector[i] = vector[i] + step * inputs[i];
      for (Counter* counter : six) counter->learn(bit, 250);
      path = 2 * path + one;
    }
    decoded.push_back(static_cast<std::uint8_t>(path & 255));
    history = history << 8 | (path & 255);
  }
  coder.finish();
  return decoded;
}

}  // namespace reference
