// The bpb denominator: how many bytes of normalised text each token is charged.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace par5 {

// The charged-bytes table of a tokenizer. A piece is charged the UTF-8 bytes after its initial "▁", plus one for
// that "▁" unless the previous token is a boundary (control, unknown, unused); a byte piece is charged 1; a boundary 0.
struct TokenBytes {
  std::vector<std::uint16_t> bytes;         // by id, without the leading space
  std::vector<std::uint8_t> leading_space;  // by id: 1 where the piece starts with "▁"
  std::vector<std::uint8_t> boundary;       // by id: 1 for control, unknown and unused pieces

  std::uint32_t charge(std::uint16_t previous, std::uint16_t token) const {
    return bytes[token] + (leading_space[token] && !boundary[previous] ? 1u : 0u);
  }
  std::size_t vocab() const { return bytes.size(); }
  bool operator==(const TokenBytes&) const = default;
};

}  // namespace par5
