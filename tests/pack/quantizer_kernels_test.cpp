// The vector code of every instruction set that this CPU has, against the scalar reference, bit for bit.
#include "pack/quantizer_kernels.h"

#include <gtest/gtest.h>
#include <hwy/highway.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "core/half.h"

namespace par5 {
namespace {

// Finite floats of every size: random bits, many of them subnormal.
std::vector<float> random_floats(std::size_t count) {
  std::mt19937 random(1234);
  std::vector<float> values;
  while (values.size() < count) {
    auto bits = static_cast<std::uint32_t>(random());
    switch (random() % 4) {
      case 0:
        bits &= 0x807fffffu;
        break;  // subnormal
      case 1:
        bits = (bits & 0x807fffffu) | (100u + (bits >> 23 & 31u)) << 23;
        break;  // ordinary
      case 2:
        bits = (bits & 0x80000000u) | (bits & 7u) << 21 | 0x3f000000u;
        break;  // many exact halves
      default:
        break;
    }
    const auto value = std::bit_cast<float>(bits);
    if (std::isfinite(value)) values.push_back(value);
  }
  return values;
}

// Runs the test body once per instruction set; prints which are there.
class EveryTarget {
 public:
  template <class Body>
  static void run(Body body) {
    hwy::SetSupportedTargetsForTest(0);
    const std::int64_t supported = hwy::SupportedTargets() & HWY_TARGETS;
    for (std::int64_t rest = supported; rest != 0; rest &= rest - 1) {
      const std::int64_t target = rest & ~(rest - 1);
      SCOPED_TRACE(hwy::TargetName(target));
      std::printf("instruction set %s\n", hwy::TargetName(target));
      hwy::SetSupportedTargetsForTest(target);
      hwy::GetChosenTarget().Update(hwy::SupportedTargets());
      body(fast_quantizer_kernels());
    }
    hwy::SetSupportedTargetsForTest(0);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
  }
};

TEST(QuantizerKernels, VectorCodeEqualsTheScalarReference) {
  const std::vector<float> weights = random_floats(1'000'000);
  const QuantizerKernels scalar = scalar_quantizer_kernels();
  EveryTarget::run([&](const QuantizerKernels& fast) {
    std::vector<std::int8_t> codes(weights.size()), expected_codes(weights.size());
    std::vector<float> values(weights.size()), expected_values(weights.size());
    for (const int limit : {0, 1, 2, 3, 7, 15, 31, 63, 127})
      for (const float scale : {0x1p-24f, round_to_half(0.0123f), 1.0f, 65504.0f}) {
        fast.encode(weights.data(), weights.size(), scale, limit, codes.data());
        scalar.encode(weights.data(), weights.size(), scale, limit, expected_codes.data());
        ASSERT_EQ(codes, expected_codes) << "limit " << limit << " scale " << scale;
        fast.round_to_grid(weights.data(), weights.size(), scale, limit, values.data());
        scalar.round_to_grid(weights.data(), weights.size(), scale, limit, expected_values.data());
        ASSERT_EQ(std::memcmp(values.data(), expected_values.data(), values.size() * sizeof(float)), 0)
            << "limit " << limit << " scale " << scale;
      }
  });
}

// The vector code compares with multiples of the scale where the reference divides: every fp16 scale, with the weights
// on both sides of every border.
TEST(QuantizerKernels, BordersBetweenLevelsAreThoseOfTheDivision) {
  const QuantizerKernels scalar = scalar_quantizer_kernels();
  EveryTarget::run([&](const QuantizerKernels& fast) {
    for (std::uint32_t bits = 1; bits < 0x7c00u; ++bits) {
      const float scale = float_from_half(static_cast<std::uint16_t>(bits));
      std::vector<float> weights;
      for (const float level : {0.5f, 1.5f, 2.5f})
        for (int away = -3; away <= 3; ++away)
          for (const float sign : {-1.0f, 1.0f})
            weights.push_back(sign * std::bit_cast<float>(std::bit_cast<std::uint32_t>(level * scale) + away));
      while (weights.size() % 16 != 0) weights.push_back(0.0f);
      std::vector<std::int8_t> codes(weights.size()), expected_codes(weights.size());
      std::vector<float> values(weights.size()), expected(weights.size());
      for (const int limit : {0, 1, 2, 3}) {
        fast.encode(weights.data(), weights.size(), scale, limit, codes.data());
        scalar.encode(weights.data(), weights.size(), scale, limit, expected_codes.data());
        ASSERT_EQ(codes, expected_codes) << "limit " << limit << " scale " << scale;
        fast.round_to_grid(weights.data(), weights.size(), scale, limit, values.data());
        scalar.round_to_grid(weights.data(), weights.size(), scale, limit, expected.data());
        ASSERT_EQ(std::memcmp(values.data(), expected.data(), values.size() * sizeof(float)), 0)
            << "limit " << limit << " scale " << scale;
      }
    }
  });
}

TEST(QuantizerKernels, Fp8ValuesAreThoseOfTheFormat) {
  // Every sign, exponent and leading mantissa bit that matters, with what lies just beside ties.
  std::vector<float> values;
  for (std::uint32_t high = 0; high < 0x7f80u; ++high)
    for (const std::uint32_t low : {0x0000u, 0x0001u, 0x7fffu, 0x8000u, 0xffffu})
      for (const std::uint32_t sign : {0u, 0x80000000u})
        values.push_back(std::bit_cast<float>(sign | high << 16 | low));
  values.push_back(3.0f);
  EveryTarget::run([&](const QuantizerKernels& fast) {
    std::vector<float> out(values.size());
    EXPECT_LT(fast.round_to_e4m3(values.data(), values.size(), out.data()), 0x7f800000u);
    for (std::size_t i = 0; i < values.size(); ++i)
      ASSERT_EQ(std::bit_cast<std::uint32_t>(out[i]), std::bit_cast<std::uint32_t>(round_to_e4m3(values[i])))
          << values[i];
    for (const float bad : {std::nanf(""), INFINITY, -INFINITY})
      for (std::size_t place = 0; place < 37; ++place) {
        std::vector<float> some(37, 0.5f);
        some[place] = bad;
        EXPECT_GE(fast.round_to_e4m3(some.data(), some.size(), some.data()), 0x7f800000u);
      }
  });
}

TEST(QuantizerKernels, SumsAndMaximaAgreeForEveryLengthAndAlignment) {
  const std::vector<float> weights = random_floats(20'000);
  const QuantizerKernels scalar = scalar_quantizer_kernels();
  EveryTarget::run([&](const QuantizerKernels& fast) {
    for (std::size_t count = 0; count < 300; ++count)
      for (std::size_t offset : {0u, 1u, 7u, 4001u}) {
        const float* group = weights.data() + offset;
        const float a = fast.absolute_sum(group, count), b = scalar.absolute_sum(group, count);
        ASSERT_EQ(std::bit_cast<std::uint32_t>(a), std::bit_cast<std::uint32_t>(b)) << count << " from " << offset;
        ASSERT_EQ(fast.absolute_max_bits(group, count), scalar.absolute_max_bits(group, count))
            << count << " from " << offset;
      }
    ASSERT_EQ(fast.absolute_sum(weights.data(), weights.size()), scalar.absolute_sum(weights.data(), weights.size()));
  });
}

TEST(QuantizerKernels, ValuesThatAreNotFiniteShowInSumAndMaximum) {
  EveryTarget::run([&](const QuantizerKernels& fast) {
    for (const float bad : {std::nanf(""), INFINITY, -INFINITY})
      for (std::size_t place = 0; place < 37; ++place) {
        std::vector<float> weights(37, 0.5f);
        weights[place] = bad;
        EXPECT_FALSE(std::isfinite(fast.absolute_sum(weights.data(), weights.size())));
        EXPECT_GE(fast.absolute_max_bits(weights.data(), weights.size()), 0x7f800000u);
      }
  });
}

}  // namespace
}  // namespace par5
