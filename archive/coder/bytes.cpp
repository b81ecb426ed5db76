#include "archive/coder/bytes.h"

#include <algorithm>
#include <array>
#include <bit>

#include "archive/coder/kernels.h"
#include "archive/coder/mixer.h"
#include "archive/coder/range_coder.h"

namespace par5::coder {
namespace {

// How many of the last bytes each context is made of.
constexpr std::array<unsigned, 6> kOrders = {0, 1, 2, 3, 4, 6};
constexpr std::size_t kContexts = kOrders.size();
constexpr std::uint32_t kCountLimit = 250;
constexpr float kLearningRate = 0.015f;
constexpr float kFirstWeight = 0.35f;
constexpr int kFewestSlotBits = 8, kMostSlotBits = 20;

class ByteModel {
 public:
  // `length`: of all strings together.
  explicit ByteModel(std::size_t length)
      : tables_(Tables::get()),
        slot_bits_(std::clamp(static_cast<int>(std::bit_width(16 * length)), kFewestSlotBits, kMostSlotBits)) {
    for (auto& counters : counters_) counters.resize(std::size_t{1} << slot_bits_);
    MixerVector first{};
    first[0] = 1.0f;
    for (std::size_t i = 1; i < kContexts; ++i) first[i] = kFirstWeight;
    weights_.fill(first);
  }

  template <class Coder>
  std::byte code(Coder& coder, std::byte value) {
    unsigned path = 1;
    for (int b = 7; b >= 0; --b) {
      std::array<Counter*, kContexts> counters;
      std::size_t seen = 0;  // contexts, from the shortest on, that have been met here before
      for (std::size_t i = 0; i < kContexts; ++i) {
        counters[i] = &counters_[i][slot(kOrders[i], path)];
        if (seen == i && counters[i]->count > 0) ++seen;
      }
      const float base = stretch(tables_, counters[0]->probability);
      const auto by_counter = [&](std::size_t i) {
        return (stretch(tables_, counters[i]->probability) - base) * tables_.confidence[counters[i]->count];
      };
      const MixerInputs inputs = {{Lanes4{base, by_counter(1), by_counter(2), by_counter(3)},
                                   Lanes4{by_counter(4), by_counter(5), 0.3f, 0.0f}, Lanes4{}, Lanes4{}}};
      MixerVector& weights = weights_[seen];
      const float p = squash(tables_, clamp(dot(weights, inputs), -9.0f, 9.0f));
      const bool bit =
          coder.code((std::to_integer<unsigned>(value) >> b) & 1, static_cast<std::uint32_t>(p * 65536.0f));
      const float outcome = bit ? 1.0f : 0.0f;
      add_scaled(weights, inputs, (outcome - p) * kLearningRate);
      for (Counter* counter : counters) counter->update(tables_, outcome, kCountLimit);
      path = path << 1 | (bit ? 1u : 0u);
    }
    history_ = history_ << 8 | (path & 255);
    return static_cast<std::byte>(path & 255);
  }

 private:
  std::size_t slot(unsigned order, unsigned path) const {
    const std::uint64_t last = history_ & ((std::uint64_t{1} << 8 * order) - 1);
    return static_cast<std::size_t>((last << 8 | path) * 0x9e3779b97f4a7c15u >> (64 - slot_bits_));
  }

  const Tables& tables_;
  int slot_bits_;
  std::uint64_t history_ = 0;  // the last bytes, the latest lowest
  std::array<std::vector<Counter>, kContexts> counters_;
  std::array<MixerVector, kContexts + 1> weights_;
};

template <class Strings>
std::size_t length_of(const Strings& strings) {
  std::size_t length = 0;
  for (const auto& string : strings) length += string.size();
  return length;
}

}  // namespace

std::vector<std::byte> encode_bytes(std::span<const std::span<const std::byte>> strings,
                                    std::vector<std::uint64_t>* string_bytes) {
  const IeeeArithmetic arithmetic;
  RangeEncoder coder;
  ByteModel model(length_of(strings));
  PartBytes ends;
  for (const auto& string : strings) {
    for (const std::byte byte : string) model.code(coder, byte);
    ends.end_part(coder.size());
  }
  std::vector<std::byte> bytes = coder.finish();
  if (string_bytes) *string_bytes = ends.finish(bytes.size());
  return bytes;
}

Result<std::vector<std::uint64_t>> decode_bytes(std::span<const std::byte> bytes,
                                                std::span<const std::span<std::byte>> strings) {
  const IeeeArithmetic arithmetic;
  RangeDecoder coder(bytes);
  ByteModel model(length_of(strings));
  PartBytes ends;
  for (const auto& string : strings) {
    for (std::byte& byte : string) {
      byte = model.code(coder, {});
      if (coder.exhausted()) break;  // a length that was claimed costs no time
    }
    ends.end_part(coder.size());
  }
  if (coder.exhausted()) return bad_data("a stream of byte strings ends early", {}, bytes.size());
  if (!coder.at_end()) return bad_data("a stream of byte strings has bytes left over", {}, coder.position());
  return ends.finish(bytes.size());
}

}  // namespace par5::coder
