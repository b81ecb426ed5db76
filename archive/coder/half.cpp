#include "archive/coder/half.h"

#include <array>
#include <map>

#include "archive/coder/kernels.h"
#include "archive/coder/mixer.h"
#include "archive/coder/range_coder.h"

namespace par5::coder {
namespace {

constexpr int kContexts = 5;
// How many values a context has, for the high byte and the low.
constexpr std::size_t kContextCounts[2][kContexts] = {{1, 256, 256, 256, 256}, {1, 256, 17, 17, 40}};
constexpr std::uint32_t kCountLimit = 250;
constexpr float kLearningRate = 0.004f;
constexpr float kFirstWeight = 0.25f;

class HalfModel {
 public:
  HalfModel() : tables_(Tables::get()) {
    for (std::size_t which = 0; which < 2; ++which)
      for (std::size_t i = 0; i < kContexts; ++i) counters_[which][i].resize(kContextCounts[which][i] << 8);
    MixerVector first{};
    first[0] = 1.0f;
    for (int i = 1; i <= kContexts; ++i) first[i] = kFirstWeight;
    weights_.fill(first);
  }

  // `left`: the value before; `above`: the value at this place of the last vector of the same length.
  template <class Coder>
  std::uint16_t code(Coder& coder, unsigned value, unsigned left, unsigned left2, unsigned above) {
    const unsigned high = code_byte(
        coder, 0, value >> 8, {0, left >> 8, above >> 8, left >> 12 << 4 | above >> 12, left >> 11 << 3 | left2 >> 13});
    const bool like_left = left >> 8 == high, like_above = above >> 8 == high;
    const unsigned low =
        code_byte(coder, 1, value & 255,
                  {0, high, like_above ? 1 + (above >> 4 & 15) : 0, like_left ? 1 + (left >> 4 & 15) : 0,
                   (like_above ? 1 + (above >> 6 & 3) : 0) << 3 | (like_left ? 1 + (left >> 6 & 3) : 0)});
    return static_cast<std::uint16_t>(high << 8 | low);
  }

 private:
  template <class Coder>
  unsigned code_byte(Coder& coder, std::size_t which, unsigned byte, const std::array<unsigned, kContexts>& contexts) {
    unsigned path = 1;
    for (int b = 7; b >= 0; --b) {
      std::array<Counter*, kContexts> counters;
      for (std::size_t i = 0; i < kContexts; ++i) counters[i] = &counters_[which][i][contexts[i] << 8 | path];
      const float base = stretch(tables_, counters[0]->probability);
      const auto by_counter = [&](std::size_t i) {
        return (stretch(tables_, counters[i]->probability) - base) * tables_.confidence[counters[i]->count];
      };
      const MixerInputs inputs = {{Lanes4{base, by_counter(1), by_counter(2), by_counter(3)},
                                   Lanes4{by_counter(4), 0.3f, 0.0f, 0.0f}, Lanes4{}, Lanes4{}}};
      MixerVector& weights = weights_[which * 8 + static_cast<std::size_t>(b)];
      const float p = squash(tables_, clamp(dot(weights, inputs), -9.0f, 9.0f));
      const bool bit = coder.code((byte >> b) & 1, static_cast<std::uint32_t>(p * 65536.0f));
      const float outcome = bit ? 1.0f : 0.0f;
      add_scaled(weights, inputs, (outcome - p) * kLearningRate);
      for (Counter* counter : counters) counter->update(tables_, outcome, kCountLimit);
      path = path << 1 | (bit ? 1u : 0u);
    }
    return path & 255;
  }

  const Tables& tables_;
  std::array<std::array<std::vector<Counter>, kContexts>, 2>
      counters_;  // by byte of the value (high, low), then context
  std::array<MixerVector, 16> weights_;
};

// Calls code(value, left, left2, above) for every value in order, which returns the value, and end_vector() after each
// vector.
template <class Vectors, class Code, class EndVector>
void for_each_value(const Vectors& vectors, const Code& code, const EndVector& end_vector) {
  std::map<std::size_t, std::vector<std::uint16_t>> last;  // by length
  for (const auto& vector : vectors) {
    std::vector<std::uint16_t>& above = last[vector.size()];
    above.resize(vector.size());
    unsigned left = 0, left2 = 0;
    for (std::size_t i = 0; i < vector.size(); ++i) {
      const std::uint16_t value = code(vector[i], left, left2, above[i]);
      left2 = left;
      left = above[i] = value;
    }
    end_vector();
  }
}

}  // namespace

std::vector<std::byte> encode_halves(std::span<const std::span<const std::uint16_t>> vectors,
                                     std::vector<std::uint64_t>* vector_bytes) {
  const IeeeArithmetic arithmetic;
  RangeEncoder coder;
  HalfModel model;
  PartBytes ends;
  for_each_value(
      vectors,
      [&](const std::uint16_t& value, unsigned left, unsigned left2, unsigned above) {
        return model.code(coder, value, left, left2, above);
      },
      [&] { ends.end_part(coder.size()); });
  std::vector<std::byte> bytes = coder.finish();
  if (vector_bytes) *vector_bytes = ends.finish(bytes.size());
  return bytes;
}

Result<std::vector<std::uint64_t>> decode_halves(std::span<const std::byte> bytes,
                                                 std::span<const std::span<std::uint16_t>> vectors) {
  const IeeeArithmetic arithmetic;
  RangeDecoder coder(bytes);
  HalfModel model;
  PartBytes ends;
  for_each_value(
      vectors,
      [&](std::uint16_t& value, unsigned left, unsigned left2, unsigned above) {
        return value = model.code(coder, 0, left, left2, above);
      },
      [&] { ends.end_part(coder.size()); });
  if (coder.exhausted()) return bad_data("a stream of fp16 vectors ends early", {}, bytes.size());
  if (!coder.at_end()) return bad_data("a stream of fp16 vectors has bytes left over", {}, coder.position());
  return ends.finish(bytes.size());
}

}  // namespace par5::coder
