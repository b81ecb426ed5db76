// The order-0 model: a binary tree over the alphabet with one counter a node and no contexts. Nothing is smaller on
// symbols that are independent and identically distributed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "archive/coder/alphabet.h"

namespace par5::coder {

class OrderZeroModel {
 public:
  explicit OrderZeroModel(const Alphabet& alphabet);

  // Codes the symbols one by one with a RangeEncoder, which reads them, or a RangeDecoder, which fills them.
  template <class Coder>
  void code(Coder& coder, std::span<std::int8_t> symbols);

 private:
  struct Node {
    float probability = 0.5f;
    float count = 0.0f;
  };
  int offset_ = 0;  // symbol index = (code + offset) / step
  int step_ = 1;
  int most_ = 255;  // largest symbol index
  int bits_ = 8;
  std::vector<Node> nodes_;
};

// What OrderZeroModel takes for these codes, rounded up: the order-0 entropy and what learning the counts costs.
std::uint64_t order_zero_bytes(const Alphabet& alphabet, std::span<const std::int8_t> codes);

}  // namespace par5::coder
