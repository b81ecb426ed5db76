// A range coder for whole frequencies with totals up to 2^48 + 2^16, as the exact engine gives them for 65,536 tokens:
// 64-bit range, 128-bit products, so that what rounding costs is below 2^-7 bits a token even there and far below 0.01
// % for real models. docs/bitstream.md has the definition. The one-file decoder needs nothing but this header.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace par5 {

// A token's share of the unit interval: [start, start + frequency) of total.
struct Interval {
  std::uint64_t start = 0;
  std::uint64_t frequency = 0;
  std::uint64_t total = 0;
};

namespace interval_detail {
__extension__ using Wide = unsigned __int128;
// floor(range · part / total)
inline std::uint64_t share(std::uint64_t range, std::uint64_t part, std::uint64_t total) {
  return static_cast<std::uint64_t>(Wide{range} * part / total);
}
inline constexpr std::uint64_t kRangeFloor = std::uint64_t{1} << 56;
}  // namespace interval_detail

class IntervalEncoder {
 public:
  void code(const Interval& interval) {
    using interval_detail::share;
    const std::uint64_t begin = share(range_, interval.start, interval.total);
    const std::uint64_t end = share(range_, interval.start + interval.frequency, interval.total);
    add(begin);
    range_ = end - begin;
    while (range_ < interval_detail::kRangeFloor) {
      bytes_.push_back(static_cast<std::byte>(low_ >> 56));
      low_ <<= 8;
      range_ <<= 8;
    }
  }

  // Ends the stream with the fewest bytes that, zeros following, name a number inside the last interval; at most 8.
  std::vector<std::byte> finish() {
    for (int kept = 0; kept <= 8; ++kept) {
      // The smallest number >= low whose bytes behind the first `kept` are zero.
      const std::uint64_t mask = kept == 8 ? 0 : ~std::uint64_t{0} >> (8 * kept);
      const std::uint64_t step = ((low_ + mask) & ~mask) - low_;
      if (step >= range_) continue;
      add(step);
      for (int i = 0; i < kept; ++i) bytes_.push_back(static_cast<std::byte>(low_ >> (56 - 8 * i)));
      break;
    }
    return std::move(bytes_);
  }

 private:
  void add(std::uint64_t amount) {
    low_ += amount;
    if (low_ >= amount) return;
    // A carry: it ends at the first byte that is not 0xff. There is one, since the stream stays below 1.
    std::size_t at = bytes_.size();
    while (bytes_[--at] == std::byte{0xff}) bytes_[at] = std::byte{0};
    bytes_[at] = static_cast<std::byte>(std::to_integer<unsigned>(bytes_[at]) + 1);
  }

  std::uint64_t low_ = 0;
  std::uint64_t range_ = ~std::uint64_t{0};
  std::vector<std::byte> bytes_;
};

// What a decoder must remember to go on later from the same bytes.
struct IntervalDecoderState {
  std::uint64_t range = ~std::uint64_t{0};
  std::uint64_t code = 0;
  std::uint64_t position = 0;  // bytes taken, those beyond the end included
};

class IntervalDecoder {
 public:
  explicit IntervalDecoder(std::span<const std::byte> bytes) : bytes_(bytes) {
    for (int i = 0; i < 8; ++i) take();
  }
  IntervalDecoder(std::span<const std::byte> bytes, const IntervalDecoderState& state) : bytes_(bytes), state_(state) {}

  // Takes one token's frequencies, which sum to `total`, and returns the token.
  std::size_t code(std::span<const std::uint64_t> frequencies, std::uint64_t total) {
    using interval_detail::share;
    using interval_detail::Wide;
    // The largest cumulative frequency whose share is at most the code.
    const Wide numerator = (Wide{state_.code} + 1) * total - 1;
    const auto wanted = static_cast<std::uint64_t>(numerator / state_.range);
    std::size_t token = 0;
    std::uint64_t start = 0;
    while (token + 1 < frequencies.size() && start + frequencies[token] <= wanted) start += frequencies[token++];
    const std::uint64_t begin = share(state_.range, start, total);
    const std::uint64_t end = share(state_.range, start + frequencies[token], total);
    state_.code -= begin;
    state_.range = end - begin;
    while (state_.range < interval_detail::kRangeFloor) {
      state_.range <<= 8;
      take();
    }
    return token;
  }

  // Whether more than the encoder's bytes would have been needed: a truncated stream.
  bool exhausted() const { return state_.position > bytes_.size() + 8; }
  // Whether the whole stream has been read.
  bool at_end() const { return !exhausted() && state_.position >= bytes_.size(); }
  const IntervalDecoderState& state() const { return state_; }

 private:
  void take() {
    const std::uint64_t next =
        state_.position < bytes_.size() ? std::to_integer<std::uint64_t>(bytes_[state_.position]) : 0;
    state_.code = state_.code << 8 | next;
    ++state_.position;
  }

  std::span<const std::byte> bytes_;
  IntervalDecoderState state_;
};

}  // namespace par5
