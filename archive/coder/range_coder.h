// A binary range coder: 32-bit range, carry propagation, probabilities of 16 bits. The encoder writes as many bytes as
// the decoder reads, so a shortened stream is always noticed, and so is one with bytes left over.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

namespace par5::coder {

// Probabilities are P(bit = 1) in units of 2^-16, from 1 to 65535.
constexpr int kProbabilityBits = 16;
constexpr std::uint32_t kRangeFloor = 1u << 24;

class RangeEncoder {
 public:
  bool code(bool bit, std::uint32_t probability) {
    const std::uint32_t bound = (range_ >> kProbabilityBits) * probability;
    if (bit) {
      range_ = bound;
    } else {
      low_ += bound;
      range_ -= bound;
    }
    while (range_ < kRangeFloor) {
      range_ <<= 8;
      shift_low();
    }
    return bit;
  }

  // Ends the stream and gives its bytes.
  std::vector<std::byte> finish() {
    for (int i = 0; i < 5; ++i) shift_low();
    return std::move(bytes_);
  }

  // A place to come back to, for coding the same symbols in another way.
  struct Mark {
    std::uint64_t low;
    std::uint32_t range;
    std::uint8_t cache;
    std::uint64_t pending;
    bool started;
    std::size_t size;
  };
  Mark mark() const { return {low_, range_, cache_, pending_, started_, bytes_.size()}; }
  // Bytes that the symbols so far take, give or take one; finish adds four.
  std::uint64_t size() const { return bytes_.size() + pending_; }
  // Only bytes after the mark have changed: a carry stops at `cache_`, which is kept apart.
  void rewind(const Mark& mark) {
    low_ = mark.low, range_ = mark.range, cache_ = mark.cache, pending_ = mark.pending, started_ = mark.started;
    bytes_.resize(mark.size);
  }

 private:
  // Moves the top byte of low_ out. A byte of 0xff might still become 0x00 with a carry into the byte before it, so
  // `cache_` and the `pending_` bytes of 0xff behind it wait until the next byte settles them.
  void shift_low() {
    const bool carry = (low_ >> 32) != 0;
    if (carry || static_cast<std::uint32_t>(low_) < 0xff000000u) {
      // The first byte out is always 0 and is not written.
      if (started_) bytes_.push_back(static_cast<std::byte>(cache_ + (carry ? 1 : 0)));
      started_ = true;
      for (; pending_ > 0; --pending_) bytes_.push_back(static_cast<std::byte>(carry ? 0x00 : 0xff));
      cache_ = static_cast<std::uint8_t>(low_ >> 24);
    } else {
      ++pending_;
    }
    low_ = (low_ & 0x00ffffffu) << 8;
  }

  std::uint64_t low_ = 0;
  std::uint32_t range_ = 0xffffffffu;
  std::uint8_t cache_ = 0;
  std::uint64_t pending_ = 0;
  bool started_ = false;
  std::vector<std::byte> bytes_;
};

class RangeDecoder {
 public:
  explicit RangeDecoder(std::span<const std::byte> bytes) : bytes_(bytes) {
    for (int i = 0; i < 4; ++i) code_ = code_ << 8 | next();
  }

  // The argument `bit` belongs to the encoder's interface and is not looked at.
  bool code(bool /*bit*/, std::uint32_t probability) {
    const std::uint32_t bound = (range_ >> kProbabilityBits) * probability;
    const bool bit = code_ < bound;
    if (bit) {
      range_ = bound;
    } else {
      code_ -= bound;
      range_ -= bound;
    }
    while (range_ < kRangeFloor) {
      range_ <<= 8;
      code_ = code_ << 8 | next();
    }
    return bit;
  }

  // Whether more bytes were asked for than there are; from then on the symbols are meaningless (but in range).
  bool exhausted() const { return exhausted_; }
  // Whether exactly the whole stream has been read.
  bool at_end() const { return !exhausted_ && position_ == bytes_.size(); }
  std::size_t position() const { return position_; }
  // What RangeEncoder::size() was after the same symbols: the decoder has read five bytes ahead.
  std::uint64_t size() const { return position_ - std::min<std::size_t>(position_, 5); }

 private:
  std::uint32_t next() {
    if (position_ < bytes_.size()) return std::to_integer<std::uint32_t>(bytes_[position_++]);
    exhausted_ = true;
    return 0;
  }

  std::span<const std::byte> bytes_;
  std::size_t position_ = 0;
  std::uint32_t range_ = 0xffffffffu;
  std::uint32_t code_ = 0;
  bool exhausted_ = false;
};

// How the bytes of a stream divide among its parts, the same for the encoder and the decoder.
class PartBytes {
 public:
  // A part ends where the coder's size() is `size`.
  void end_part(std::uint64_t size) {
    bytes_.push_back(size - reached_);
    reached_ = size;
  }
  // The last part takes what ends the stream.
  std::vector<std::uint64_t> finish(std::uint64_t stream_bytes) {
    if (!bytes_.empty()) bytes_.back() += stream_bytes - reached_;
    return std::move(bytes_);
  }

 private:
  std::vector<std::uint64_t> bytes_;
  std::uint64_t reached_ = 0;
};

// Whether a decoder has run out of bytes, so that decoding on is of no use; an encoder never does.
inline bool ran_dry(const RangeEncoder&) { return false; }
inline bool ran_dry(const RangeDecoder& coder) { return coder.exhausted(); }

}  // namespace par5::coder
