#include "archive/coder/order_zero.h"

#include <algorithm>
#include <bit>

#include "archive/coder/range_coder.h"

namespace par5::coder {

OrderZeroModel::OrderZeroModel(const Alphabet& alphabet) {
  if (!alphabet.is_fp8()) {
    offset_ = alphabet.max_code;
    step_ = alphabet.has_zero ? 1 : 2;
    most_ = std::min(255, 2 * alphabet.max_code / step_);
    bits_ = std::bit_width(static_cast<unsigned>(most_));
  }
  nodes_.resize(std::size_t{1} << bits_);
}

template <class Coder>
void OrderZeroModel::code(Coder& coder, std::span<std::int8_t> symbols) {
  for (std::int8_t& symbol : symbols) {
    const int wanted = offset_ == 0 ? symbol & 255 : (symbol + offset_) / step_;
    int path = 1, decoded = 0;
    for (int b = bits_ - 1; b >= 0; --b) {
      // Branches that no symbol has are not coded.
      if ((decoded | 1 << b) > most_) {
        path = 2 * path;
        continue;
      }
      Node& node = nodes_[static_cast<std::size_t>(path)];
      const std::uint32_t scaled = static_cast<std::uint32_t>(node.probability * 65536.0f);
      const bool bit = coder.code((wanted >> b) & 1, std::clamp(scaled, 1u, 65535u));
      node.probability = node.probability + ((bit ? 1.0f : 0.0f) - node.probability) / (node.count + 1.6f);
      node.count = std::min(node.count + 1.0f, 65536.0f);
      path = 2 * path + bit;
      decoded |= bit << b;
    }
    symbol = static_cast<std::int8_t>(decoded * step_ - offset_);
    if (ran_dry(coder)) return;
  }
}

template void OrderZeroModel::code(RangeEncoder&, std::span<std::int8_t>);
template void OrderZeroModel::code(RangeDecoder&, std::span<std::int8_t>);

std::uint64_t order_zero_bytes(const Alphabet& alphabet, std::span<const std::int8_t> codes) {
  std::vector<std::int8_t> symbols(codes.begin(), codes.end());
  RangeEncoder coder;
  OrderZeroModel(alphabet).code(coder, symbols);
  return coder.size();
}

}  // namespace par5::coder
